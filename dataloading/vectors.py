"""Vectors of float32 for Numba kernels: loads, sums, transposes and stores that are sure to become vector instructions.

LLVM turns a plain loop into vector code only where it sees that it may; resizing, with its gathers, short loops and
transposes, stayed scalar. These few operations are written in LLVM's own vector types instead, which it translates for
every processor: 16 lanes fill a register of AVX-512, elsewhere 8 lanes fill one of AVX or two of SSE and NEON.

Indices are in elements from an array's first, whatever its shape; nothing is checked, so what is read must be there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import config
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import models, register_model

if TYPE_CHECKING:
    from collections.abc import Callable

_FEATURES: Final = getattr(config, "CPU_FEATURES", None) or llvm.get_host_cpu_features().flatten()

LANES: Final = 16 if "+avx512f" in _FEATURES else 8
"""Numbers in a vector; a power of 2."""
LINE_BYTES: Final = 4 * LANES
"""What the address of a vector must be a multiple of for ``stream``."""


class _Operation(Protocol):
    """What a kernel calls: an intrinsic without its first parameter, which is Numba's own."""

    def __call__(self, *operands: Any) -> Any: ...


def intrinsic(build: Callable[..., Any]) -> _Operation:
    """Register an operation by what builds its code."""
    return numba_intrinsic(build)


_FLOAT: Final = ir.FloatType()
_VECTOR: Final = ir.VectorType(_FLOAT, LANES)
_BYTES: Final = ir.VectorType(ir.IntType(8), LANES)
_INTS: Final = ir.VectorType(ir.IntType(32), LANES)


class _Vector(types.Type):
    """``LANES`` float32 in one register, as Numba's type."""

    def __init__(self) -> None:
        super().__init__(name=f"vector{LANES}f")


_vector: Final = _Vector()


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


@intrinsic
def load(_typing: Any, array: Any, _at: Any) -> Any:
    """Read ``LANES`` float32 from ``array``, beginning at ``at``."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _load(builder, _address(context, builder, signature, arguments, 0, arguments[1]), _VECTOR)

    return _vector(array, types.intp), code


@intrinsic
def load_bytes(_typing: Any, array: Any, _at: Any) -> Any:
    """Read ``LANES`` uint8 as float32."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = _load(builder, _address(context, builder, signature, arguments, 0, arguments[1]), _BYTES)
        return builder.sitofp(builder.zext(found, _INTS), _VECTOR)

    return _vector(array, types.intp), code


@intrinsic
def spread(_typing: Any, array: Any, _at: Any) -> Any:
    """Read one float32 into all lanes."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one = builder.load(_address(context, builder, signature, arguments, 0, arguments[1]))
        first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), one, ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(first, first, ir.Constant(_INTS, [0] * LANES))

    return _vector(array, types.intp), code


@intrinsic
def zeros(_typing: Any) -> Any:
    """Give a vector of zeros."""

    def code(_context: Any, _builder: Any, _signature: Any, _arguments: Any) -> Any:
        return ir.Constant(_VECTOR, [0.0] * LANES)

    return _vector(), code


@intrinsic
def fused(_typing: Any, _a: Any, _b: Any, _c: Any) -> Any:
    """Give ``a * b + c``, in one instruction where there is one."""

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return _fused(builder, *arguments)

    return _vector(_vector, _vector, _vector), code


@intrinsic
def store(_typing: Any, array: Any, _at: Any, _value: Any) -> Any:
    """Write a vector into a float32 array."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _store(builder, arguments[2], _address(context, builder, signature, arguments, 0, arguments[1]))
        return context.get_dummy_value()

    return types.void(array, types.intp, _vector), code


@intrinsic
def transpose(_typing: Any, source: Any, _at: Any, _step: Any, target: Any, _to: Any, _to_step: Any) -> Any:
    """Read ``LANES`` vectors that are ``step`` apart and write their transpose, ``to_step`` apart."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        for vector, address in _transposed(context, builder, signature, arguments):
            _store(builder, vector, address)
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, target, types.intp, types.intp), code


@intrinsic
def transpose_scaled(
    _typing: Any, source: Any, _at: Any, _step: Any, target: Any, _to: Any, _to_step: Any, _scale: Any, _bias: Any
) -> Any:
    """Transpose, and turn each vector ``v`` of the transpose into ``v * scale + bias``."""
    return _transpose_scaled(source, target, stream=False)


@intrinsic
def transpose_streamed(
    _typing: Any, source: Any, _at: Any, _step: Any, target: Any, _to: Any, _to_step: Any, _scale: Any, _bias: Any
) -> Any:
    """Do as ``transpose_scaled``, past the caches; the target's addresses must be multiples of ``LINE_BYTES``.

    A batch is larger than the caches: an ordinary store would first read from memory what it is about to overwrite.
    ``fence`` before anyone else may read it.
    """
    return _transpose_scaled(source, target, stream=True)


@intrinsic
def fence(_typing: Any) -> Any:
    """Let all stores be seen before any that come after."""

    def code(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), code


def _transpose_scaled(source: Any, target: Any, *, stream: bool) -> tuple[Any, Callable[..., Any]]:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *place, scale, bias = arguments
        for vector, address in _transposed(context, builder, signature, place):
            _store(builder, _fused(builder, vector, scale, bias), address, stream=stream)
        return context.get_dummy_value()

    places = (source, types.intp, types.intp, target, types.intp, types.intp)
    return types.void(*places, _vector, _vector), code


def _transposed(context: Any, builder: Any, signature: Any, arguments: Any) -> list[tuple[Any, Any]]:
    """Transpose in log2(LANES) rounds of shuffles: vectors, and the addresses that they belong to."""
    _, at, step, _, to, to_step = arguments

    def addresses(argument: int, start: Any, stride: Any) -> list[Any]:
        offsets = [builder.add(start, builder.mul(stride, ir.Constant(start.type, i))) for i in range(LANES)]
        return [_address(context, builder, signature, arguments, argument, offset) for offset in offsets]

    vectors = [_load(builder, address, _VECTOR) for address in addresses(0, at, step)]
    half = 1
    while half < LANES:  # each round exchanges one bit of the row number with the same bit of the column number
        lower = [LANES + (lane ^ half) if lane & half else lane for lane in range(LANES)]
        upper = [LANES + lane if lane & half else lane | half for lane in range(LANES)]
        for i in (i for i in range(LANES) if not i & half):
            a, b = vectors[i], vectors[i | half]
            vectors[i] = builder.shuffle_vector(a, b, ir.Constant(_INTS, lower))
            vectors[i | half] = builder.shuffle_vector(a, b, ir.Constant(_INTS, upper))
        half *= 2
    return list(zip(vectors, addresses(3, to, to_step), strict=True))


def _address(context: Any, builder: Any, signature: Any, arguments: Any, argument: int, at: Any) -> Any:
    """Where element ``at`` of the array that was given as ``argument`` lies."""
    array = context.make_array(signature.args[argument])(context, builder, arguments[argument])
    return builder.gep(array.data, [at])


def _load(builder: Any, address: Any, kind: Any) -> Any:
    found = builder.load(builder.bitcast(address, kind.as_pointer()))
    found.align = kind.element.width // 8 if isinstance(kind.element, ir.IntType) else 4
    return found


def _store(builder: Any, vector: Any, address: Any, *, stream: bool = False) -> None:
    stored = builder.store(vector, builder.bitcast(address, _VECTOR.as_pointer()))
    stored.align = LINE_BYTES if stream else 4
    if stream:
        stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))


def _fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return builder.fadd(builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))
