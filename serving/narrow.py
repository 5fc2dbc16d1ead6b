"""An fp32 ONNX network -> the same network with narrower arithmetic written into the file.

TensorRT builds strongly typed networks: what the file says is computed, and no flag of a builder changes it. The
network's input and outputs stay float32.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from crawler.errors import UnusableInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

HALVES: Final = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
LEVELS: Final = {"int8": 127.0, "fp8": 448.0}
"""Largest value of a signed byte, and of a float8 with 4 bits of exponent."""
WIDE: Final = ("Einsum",)
"""Operators that stay in fp32: the layer that makes the maps for people."""
OPSET: Final = 22
"""First in which ONNX has convolutions of bf16; nothing else changed for the operators of a ResNet since 18."""
SMALLEST_SCALE: Final = 2.0**-14
"""Of fp16's normal numbers: the scale beside a quantised tensor has the type of the arithmetic around it."""


def narrowed(network: onnx.ModelProto, number_format: str) -> onnx.ModelProto:
    """Compute a network in 16 bits between its input and its outputs.

    Args:
        network: fp32, with one input; its operators take their weights from initializers or Constant nodes.
        number_format: ``fp16`` or ``bf16``.

    Raises:
        UnusableInput: A weight is beyond the range of fp16.
    """
    half = HALVES[number_format]
    result = onnx.ModelProto()
    result.CopyFrom(network)
    graph = result.graph
    for domain in result.opset_import:
        if domain.domain in {"", "ai.onnx"}:
            domain.version = max(domain.version, OPSET)
    del graph.value_info[:]  # types of what is between; shape inference finds them again
    for weights in graph.initializer:
        _convert(weights, half, weights.name)
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                _convert(attribute.t, half, node.output[0])
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = half
    _rename_inputs(graph, {graph.input[0].name: f"{graph.input[0].name}_half"})
    into = helper.make_node("Cast", [graph.input[0].name], [f"{graph.input[0].name}_half"], to=half)
    outputs = {output.name: f"{output.name}_half" for output in graph.output}
    _rename_inputs(graph, outputs)
    for node in graph.node:
        node.output[:] = [outputs.get(name, name) for name in node.output]
    back = [helper.make_node("Cast", [inner], [name], to=TensorProto.FLOAT) for name, inner in outputs.items()]
    nodes = [into, *(part for node in graph.node for part in _kept_wide(node, half)), *back]
    del graph.node[:]
    graph.node.extend(nodes)
    return _checked(result)


def quantizable(network: onnx.ModelProto) -> dict[str, list[str]]:
    """Find what is worth quantising: the convolutions behind the first one.

    The first sees three channels, which byte arithmetic is not made for, and the last layer is small and decides.

    Returns:
        For every tensor that goes into such convolutions, the names of their weights.
    """
    weights = {initializer.name for initializer in network.graph.initializer}
    inputs = {entry.name for entry in network.graph.input}
    found: dict[str, list[str]] = defaultdict(list)
    for node in network.graph.node:
        if node.op_type == "Conv" and node.input[1] in weights and node.input[0] not in inputs:
            found[node.input[0]].append(node.input[1])
    return dict(found)


def quantized(network: onnx.ModelProto, ranges: Mapping[str, float], number_format: str) -> onnx.ModelProto:
    """Write pairs of QuantizeLinear and DequantizeLinear around convolutions, with fp16 between them.

    Args:
        network: fp32.
        ranges: Largest magnitude that each tensor of ``quantizable`` shall keep.
        number_format: ``int8`` or ``fp8``; symmetric, one scale a tensor, and one an output channel for weights.
    """
    result = narrowed(network, "fp16")
    graph = result.graph
    bytes_type = TensorProto.INT8 if number_format == "int8" else TensorProto.FLOAT8E4M3FN
    weights = {initializer.name: initializer for initializer in network.graph.initializer}
    pairs: dict[str, list[onnx.NodeProto]] = {}
    renamed: dict[str, str] = {}
    for tensor, names in quantizable(network).items():
        scale = np.array(max(ranges[tensor] / LEVELS[number_format], SMALLEST_SCALE), np.float16)
        pairs[tensor] = _pair(graph, tensor, scale, bytes_type)
        renamed[tensor] = pairs[tensor][-1].output[0]
        for name in names:
            if name not in renamed:
                values = numpy_helper.to_array(weights[name])
                largest = np.abs(values).max(axis=tuple(range(1, values.ndim)))
                scales = np.maximum(largest / LEVELS[number_format], SMALLEST_SCALE).astype(np.float16)
                pairs[name] = _pair(graph, name, scales, bytes_type)
                renamed[name] = pairs[name][-1].output[0]
    nodes: list[onnx.NodeProto] = [node for name in renamed if name in weights for node in pairs[name]]
    for node in graph.node:
        if node.op_type == "Conv" and node.input[1] in renamed:
            node.input[0], node.input[1] = renamed[node.input[0]], renamed[node.input[1]]
        nodes.append(node)
        nodes += [extra for name in node.output if name in pairs for extra in pairs[name]]
    del graph.node[:]
    graph.node.extend(nodes)
    return _checked(result)


def types_of(network: onnx.ModelProto) -> dict[str, int]:
    """Count the network's operators by the number format that they compute in.

    Returns:
        For instance ``{"Conv INT8": 19, "Conv FLOAT16": 1}``; a convolution between quantised tensors counts as theirs.
    """
    inferred = onnx.shape_inference.infer_shapes(network, strict_mode=True)
    types = {entry.name: entry.type.tensor_type.elem_type for entry in inferred.graph.value_info}
    types |= {entry.name: entry.type.tensor_type.elem_type for entry in inferred.graph.input}
    types |= {entry.name: entry.data_type for entry in inferred.graph.initializer}
    sources = {name: node for node in inferred.graph.node for name in node.output}
    counts: dict[str, int] = defaultdict(int)
    for node in inferred.graph.node:
        source = sources.get(node.input[0]) if node.input else None
        before = source.input[0] if source is not None and source.op_type == "DequantizeLinear" else None
        known = types.get(before or (node.input[0] if node.input else ""), TensorProto.UNDEFINED)
        counts[f"{node.op_type} {TensorProto.DataType.Name(known)}"] += 1
    return dict(counts)


def _convert(tensor: TensorProto, half: int, name: str) -> None:
    if tensor.data_type != TensorProto.FLOAT:
        return
    values = numpy_helper.to_array(tensor)
    narrow = _to_half(values, half)
    if not np.isfinite(narrow.astype(np.float32)).all():
        msg = f"weights {name}: up to {np.abs(values).max():.3g}, expected at most 65504 for fp16; say --precision bf16"
        raise UnusableInput(msg)
    tensor.CopyFrom(helper.make_tensor(tensor.name, half, values.shape, narrow.tobytes(), raw=True))


def _kept_wide(node: onnx.NodeProto, half: int) -> list[onnx.NodeProto]:
    """Put casts around an operator that ONNX does not have in bf16."""
    if node.op_type not in WIDE:
        return [node]
    wide = [f"{node.output[0]}_{index}_wide" for index in range(len(node.input))]
    casts = [
        helper.make_node("Cast", [name], [cast], to=TensorProto.FLOAT)
        for name, cast in zip(node.input, wide, strict=True)
    ]
    narrow = node.output[0]
    node.input[:], node.output[:] = wide, [f"{narrow}_wide"]
    return [*casts, node, helper.make_node("Cast", [f"{narrow}_wide"], [narrow], to=half)]


def _to_half(values: NDArray[Any], half: int) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        return values.astype(helper.tensor_dtype_to_np_dtype(half))


def _rename_inputs(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]


def _pair(graph: onnx.GraphProto, tensor: str, scale: NDArray[Any], bytes_type: int) -> list[onnx.NodeProto]:
    """Make the two nodes that take a tensor through bytes, and their constants."""
    zeros = helper.make_tensor(f"{tensor}_zero", bytes_type, scale.shape, bytes(scale.size), raw=True)
    graph.initializer.extend([numpy_helper.from_array(scale, f"{tensor}_scale"), zeros])
    axis: dict[str, Any] = {"axis": 0} if scale.ndim else {}
    constants = [f"{tensor}_scale", f"{tensor}_zero"]
    return [
        helper.make_node("QuantizeLinear", [tensor, *constants], [f"{tensor}_bytes"], **axis),
        helper.make_node("DequantizeLinear", [f"{tensor}_bytes", *constants], [f"{tensor}_again"], **axis),
    ]


def _checked(network: onnx.ModelProto) -> onnx.ModelProto:
    onnx.checker.check_model(network, full_check=True)
    return network
