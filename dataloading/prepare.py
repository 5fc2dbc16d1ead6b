"""Encoded posters -> a batch of normalised squares: the one interface of all implementations."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from crawler.errors import UnusableInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crawler.records import Reason
    from dataloading.preprocess import Draw, Preprocess

LIMIT_SIDE: Final = 8192
"""Longest side of a poster that is decoded, in pixels: 65 times the pixels of a w780 poster."""

ALIGNMENT_BYTES: Final = 64
"""A cache line, and the widest vector."""

IMPLEMENTATIONS: Final = {
    "reference": ("dataloading.reference", "ReferencePreparer"),
    "native": ("dataloading.native", "NativePreparer"),
    "dali": ("dataloading.dali", "DaliPreparer"),
}
"""Name -> module and class; each takes ``(spec, threads=...)``."""


class Number(StrEnum):
    """What a batch holds."""

    FLOAT32 = "float32"
    """Normalised."""
    FLOAT16 = "float16"
    """Likewise, in half precision."""
    BFLOAT16 = "bfloat16"
    """Normalised; NumPy has no such type, so its bits as uint16: ``torch.from_numpy(images).view(torch.bfloat16)``."""
    UINT8 = "uint8"
    """Levels from 0 to 255, to be normalised where they are used."""


class Layout(StrEnum):
    """In which order a batch's axes lie in memory."""

    NCHW = "nchw"
    NHWC = "nhwc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """The form of a batch; every implementation makes the default, ``native`` all, ``dali`` all but bfloat16."""

    number: Number = Number.FLOAT32
    layout: Layout = Layout.NCHW

    @property
    def memory_type(self) -> type[np.generic]:
        """NumPy's type of the memory."""
        return {
            Number.FLOAT32: np.float32,
            Number.FLOAT16: np.float16,
            Number.BFLOAT16: np.uint16,
            Number.UINT8: np.uint8,
        }[self.number]

    def shape(self, count: int, size: int) -> tuple[int, int, int, int]:
        """Of a batch of ``count`` posters."""
        return (count, 3, size, size) if self.layout is Layout.NCHW else (count, size, size, 3)


FLOAT32_NCHW: Final = Output()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A batch, and what became of each of its posters."""

    images: NDArray[Any]
    """float32 ``[b, 3, size, size]``, normalised by ``spec.mean`` and ``spec.std``, unless another ``Output`` was asked
    for; all 0 where there is a reason."""
    reasons: list[Reason | None]
    """Why a poster could not be prepared; None where it was."""


class Preparer(Protocol):
    """Turns encoded posters into a batch."""

    @property
    def spec(self) -> Preprocess:
        """What is done to the posters."""
        ...

    def prepare(
        self,
        bodies: Sequence[bytes],
        draws: Sequence[Draw] | None = None,
        out: NDArray[Any] | None = None,
    ) -> Prepared:
        """Prepare a batch; a poster that does not decode has a reason and a zero image, and is never an exception.

        Args:
            bodies: Encoded posters: JPEG, PNG or WebP.
            draws: What is done to each, as ``dataloading.preprocess.draw`` gives it for the poster's size as it is
                shown (see ``dataloading.jpeg.shown_size``); None is ``spec.for_evaluation()`` for all of them.
            out: float32 ``[b, 3, size, size]``, contiguous, to be filled and returned; None makes a new one.
                ``empty_batch`` makes one that is aligned.

        Raises:
            UnusableInput: ``draws`` or ``out`` do not fit ``bodies``.
        """
        ...


def make_preparer(
    spec: Preprocess, implementation: str = "auto", threads: int | None = None, *, scan_all: bool = False
) -> Preparer:
    """Choose an implementation.

    Args:
        spec: What is to be done to the posters.
        implementation: ``reference``, ``native``, ``dali``, or ``auto``: ``dali`` on a machine with an NVIDIA GPU,
            ``native`` elsewhere.
        threads: That work at the same time; None means as many as this process may use.
        scan_all: Notice damage in parts of a poster that its draw does not need; only ``native`` leaves any unread.

    Raises:
        UnusableInput: There is no such implementation, or its library is not installed.
    """
    name = default_implementation() if implementation == "auto" else implementation
    if name not in IMPLEMENTATIONS:
        msg = f"implementation {implementation!r}: expected auto, {', '.join(IMPLEMENTATIONS)}"
        raise UnusableInput(msg)
    module, kind = IMPLEMENTATIONS[name]
    options = {"scan_all": scan_all} if name == "native" else {}
    try:  # each brings a heavy library that the others do without
        return getattr(importlib.import_module(module), kind)(spec, threads=threads, **options)
    except ImportError as error:
        msg = f"implementation {name}: {error}; install what is missing, or use native"
        raise UnusableInput(msg) from error


def default_implementation() -> str:
    """Name what ``auto`` stands for on this machine."""
    return "dali" if Path("/dev/nvidia0").exists() and find_spec("nvidia.dali") else "native"


def empty_batch(count: int, size: int, output: Output = FLOAT32_NCHW) -> NDArray[Any]:
    """Make memory for a batch, aligned as vector stores want it; to be used again and again as ``out``.

    Returns:
        ``[count, 3, size, size]`` or ``[count, size, size, 3]``, its values undefined.
    """
    shape, dtype = output.shape(count, size), np.dtype(output.memory_type)
    size_bytes = math.prod(shape) * dtype.itemsize
    memory = np.empty(size_bytes + ALIGNMENT_BYTES, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT_BYTES
    return memory[start : start + size_bytes].view(dtype).reshape(shape)


def batch_memory(
    spec: Preprocess,
    bodies: Sequence[bytes],
    draws: Sequence[Draw] | None,
    out: NDArray[Any] | None,
    output: Output = FLOAT32_NCHW,
) -> NDArray[Any]:
    """Check the arguments of ``Preparer.prepare`` and give the memory to fill.

    Raises:
        UnusableInput: ``draws`` or ``out`` do not fit ``bodies``.
    """
    if draws is not None and len(draws) != len(bodies):
        msg = f"prepare: {len(draws)} draws for {len(bodies)} posters; expected one draw for each poster"
        raise UnusableInput(msg)
    if out is None:
        return empty_batch(len(bodies), spec.size, output)
    shape, dtype = output.shape(len(bodies), spec.size), np.dtype(output.memory_type)
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        msg = f"prepare: out is {out.dtype} {out.shape}; expected {dtype} {shape}, contiguous"
        raise UnusableInput(msg)
    return out
