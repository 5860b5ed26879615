"""A quantisation-aware network as an int8 ONNX file: what it computes, in the operators that runtimes fuse to int8 kernels."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from nas.compress.fake_quant import FakeQuantNetwork, frozen
from nas.hardware.export import Deployed, export_onnx, save_onnx, slim
from nas.hardware.stamp import STAMP

__all__ = ["export_fake_quant"]

_HEAVY = ("Conv", "Gemm")


def export_fake_quant(network: FakeQuantNetwork, mean: Sequence[float], std: Sequence[float], path: Path, said: Mapping[str, str]) -> None:
    """Writes the int8 form with an open batch: weights as int8, biases as int32 at the scale of their products. Atomic.

    Raises:
        TargetError: the exporter failed.
    """
    with tempfile.TemporaryDirectory(prefix="nas-int8-") as folder:
        scratch = Path(folder) / "fake.onnx"
        export_onnx(Deployed(frozen(network), mean, std), network.blocks, scratch, said)
        proto = onnx.load(scratch)
    _store_as_integers(proto.graph)
    slim(proto.graph)
    save_onnx(proto, path, {entry.key: entry.value for entry in proto.metadata_props if entry.key != STAMP})


def _store_as_integers(graph: onnx.GraphProto) -> None:
    """Replaces fp32 weights and their rounding nodes by int8 constants, and fp32 biases by int32 ones."""
    known = _constants(graph)
    made = {output: node for node in graph.node for output in node.output}
    gone: list[onnx.NodeProto] = []
    for node in [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] in known]:
        scale, zero = known[node.input[1]], known[node.input[2]]
        axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
        weight = known[node.input[0]]
        shape = [-1 if i == axis else 1 for i in range(weight.ndim)] if scale.ndim else []
        rounded = np.rint(weight / scale.reshape(shape)) + zero.reshape(shape)
        limits = np.iinfo(zero.dtype)
        name = f"{node.output[0]}_int8"
        graph.initializer.append(numpy_helper.from_array(np.clip(rounded, limits.min, limits.max).astype(zero.dtype), name))
        for user in graph.node:
            for index, used in enumerate(user.input):
                if used == node.output[0]:
                    user.input[index] = name
        gone.append(node)
    for node in gone:
        graph.node.remove(node)
    for node in [node for node in graph.node if node.op_type in _HEAVY and len(node.input) > 2]:
        pixels, weight = made[node.input[0]], made[node.input[1]]
        while pixels.op_type in ("Flatten", "Reshape"):
            pixels = made[pixels.input[0]]
        if pixels.op_type == weight.op_type == "DequantizeLinear":
            scale = np.atleast_1d(known[pixels.input[1]] * known[weight.input[1]]).astype(np.float32)
            _store_bias(graph, node, known[node.input[2]], scale)
    _drop_unused(graph)


def _store_bias(graph: onnx.GraphProto, node: onnx.NodeProto, bias: NDArray[np.float32], scale: NDArray[np.float32]) -> None:
    """Bias at the scale of the products that it is added to, as int32 (Jacob et al. 2018, arXiv:1712.05877, equation 11)."""
    name = f"{node.output[0]}_bias"
    limits = np.iinfo(np.int32)
    values = np.clip(np.rint(bias.astype(np.float64) / scale), limits.min, limits.max).astype(np.int32)
    for suffix, array in (("int32", values), ("scale", scale), ("zero", np.zeros(len(scale), np.int32))):
        graph.initializer.append(numpy_helper.from_array(array, f"{name}_{suffix}"))
    whole = onnx.helper.make_node("DequantizeLinear", [f"{name}_{s}" for s in ("int32", "scale", "zero")], [name], name=name, axis=0)
    graph.node.insert(list(graph.node).index(node), whole)
    node.input[2] = name


def _constants(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    """Every tensor that does not depend on the input and is written down, by name."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = numpy_helper.to_array(next(each.t for each in node.attribute if each.name == "value"))
        elif node.op_type == "Identity" and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return found


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Takes away what nothing reads any more."""
    wanted = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    tensors = [tensor for tensor in graph.initializer if tensor.name in wanted]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(tensors)
