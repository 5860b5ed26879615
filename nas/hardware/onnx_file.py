"""An ONNX file as nodes with resolved shapes, batch 1. Weights are not read: only their shapes are.

`nas.hardware.onnx_shapes` finds the shapes, `nas.hardware.onnx_graph` turns the nodes into operators.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nas.errors import MissingExtraError, ModelFileError
from nas.hardware.onnx_shapes import known_shapes

__all__ = ["Node", "OnnxFile", "load_proto", "read_onnx"]

_OWN_DOMAINS = ("", "ai.onnx")
_QUANTISERS = ("QuantizeLinear", "DynamicQuantizeLinear", "QGemm", "QAttention")
_FLOATS = {"FLOAT": "fp32", "FLOAT16": "fp16", "BFLOAT16": "bf16", "DOUBLE": "fp64"}


@dataclass(frozen=True, slots=True)
class Node:
    """One operator of the file.

    Attributes:
        kind: "Conv"; with its domain where it is not ONNX's own ("com.microsoft.FusedConv").
        name: its own, or its first output's where it has none.
        inputs: names of tensors, "" where an optional one is left out.
        attributes: whole numbers and lists of them, by name.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """What decides a network's cost.

    Attributes:
        nodes: in order of execution, without those that only compute constants.
        shapes: of every tensor whose shape is known, batch 1.
        constants: tensors that do not depend on the input: weights, and what is computed of them or of shapes.
        inputs, outputs: names of tensors.
        metadata: what the file says of itself.
        precision: of its arithmetic: "int8" where activations are quantised, else what most of its weights are; "fp64" is no target's.
        rectified: tensors written by a quantisation to unsigned numbers whose 0 is the real 0: relus, which quantisers take away before it.
    """

    nodes: tuple[Node, ...]
    shapes: Mapping[str, tuple[int, ...]]
    constants: frozenset[str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    metadata: Mapping[str, str]
    precision: str = "fp32"
    rectified: frozenset[str] = frozenset()


def read_onnx(path: Path) -> OnnxFile:
    """Reads an ONNX file. A batch dimension left open is 1.

    Raises:
        ModelFileError: absent, truncated, not ONNX, weights missing beside it, a batch other than 1, or other dimensions left open.
        MissingExtraError: onnx is not installed.
    """
    model = load_proto(path)
    graph = model.graph
    _check_whole(path, graph)
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    weights |= {sparse.values.name: tuple(sparse.dims) for sparse in graph.sparse_initializer}
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    inputs = tuple(value.name for value in graph.input if value.name not in weights)
    if not inputs:
        raise ModelFileError(f"{path}: has no input")
    precision, rectified = _precision(graph), _rectified(graph)
    batches = {_fix_batch(path, value) for value in graph.input if value.name in inputs}
    shapes = {**weights, **known_shapes(str(path), model, batches)}
    constants = {*weights, *(tensor.name for tensor in graph.initializer)}
    nodes = []
    for node in _nodes(graph):
        # What depends on shapes alone is known before the first image, and so is what is computed of it.
        if node.kind in ("Shape", "Size") or all(name in constants for name in node.inputs if name):
            constants.update(node.outputs)
        else:
            nodes.append(node)
    if not nodes:
        raise ModelFileError(f"{path}: holds no operators that depend on the input")
    outputs = tuple(value.name for value in graph.output)
    return OnnxFile(tuple(nodes), shapes, frozenset(constants), inputs, outputs, metadata, precision, rectified)


def load_proto(path: Path) -> Any:
    """The file as onnx has it, an `onnx.ModelProto` without functions; weights that lie beside it are not read.

    Raises:
        ModelFileError: absent, truncated, or not ONNX.
        MissingExtraError: onnx is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ModuleNotFoundError as exc:
        raise MissingExtraError("onnx", "search") from exc
    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except OSError as exc:
        raise ModelFileError(f"{path}: cannot be read: {exc.strerror or exc}") from exc
    except (DecodeError, ValueError) as exc:
        raise ModelFileError(f"{path}: is not a whole ONNX file: copy or export it again ({exc})") from exc
    if not model.graph.node:
        raise ModelFileError(f"{path}: is not a whole ONNX file: it holds no operators")
    if model.functions:
        from onnx.inliner import inline_local_functions

        model = inline_local_functions(model)
    return model


def _check_whole(path: Path, graph: Any) -> None:
    """Every tensor is written before it is read, and weights kept in files of their own are there."""
    known = {"", *(tensor.name for tensor in graph.initializer), *(value.name for value in graph.input)}
    known |= {sparse.values.name for sparse in graph.sparse_initializer}
    for node in graph.node:
        _check_node(path, node)
        for name in node.input:
            if name not in known:
                raise ModelFileError(f"{path}: is not a whole ONNX file: {node.op_type} {node.name!r} reads {name!r}, which nothing writes")
        known.update(node.output)
    for value in graph.output:
        if value.name not in known:
            raise ModelFileError(f"{path}: is not a whole ONNX file: nothing writes its output {value.name!r}")
    if not graph.output:
        raise ModelFileError(f"{path}: is not a whole ONNX file: it has no output")
    for tensor in graph.initializer:
        if min(tensor.dims, default=0) < 0:
            raise ModelFileError(f"{path}: is damaged: weights of {tensor.name!r} have the shape {list(tensor.dims)}")
        where = {entry.key: entry.value for entry in tensor.external_data}
        if "location" not in where:
            continue
        beside = path.parent / where["location"]
        try:
            wanted = int(where.get("offset", 0)) + int(where.get("length", 0))
        except ValueError as exc:
            raise ModelFileError(f"{path}: is damaged: the place of {tensor.name!r} in {beside} is no number: {exc}") from exc
        if not beside.is_file():
            raise ModelFileError(f"{path}: weights of {tensor.name!r} are in {beside}, which is absent: put it beside the model")
        if beside.stat().st_size < wanted:
            raise ModelFileError(f"{path}: weights in {beside} are truncated: {beside.stat().st_size} of {wanted} bytes or more")


def _check_node(path: Path, node: Any) -> None:
    """Its texts can be read, and it reads and writes as much as its kind must."""
    import onnx

    texts = (node.op_type, node.domain, node.name, *node.input, *node.output)
    if not all(isinstance(text, str) for text in texts):
        raise ModelFileError(f"{path}: is damaged: an operator's name cannot be read: {next(t for t in texts if not isinstance(t, str))!r}")
    domain = "" if node.domain in _OWN_DOMAINS else node.domain
    least = onnx.defs.get_schema(node.op_type, domain).min_input if onnx.defs.has(node.op_type, domain) else 0
    if len(node.input) < least or not node.output:
        amounts = f"reads {len(node.input)} tensors (at least {least}) and writes {len(node.output)}"
        raise ModelFileError(f"{path}: is damaged: {node.op_type} {node.name!r} {amounts}")


def _precision(graph: Any) -> str:
    """See `OnnxFile.precision`."""
    import onnx

    if any("Integer" in node.op_type or "QLinear" in node.op_type or node.op_type in _QUANTISERS for node in graph.node):
        return "int8"
    elements: Counter[str] = Counter()
    values = (entry.t for node in graph.node if node.op_type == "Constant" for entry in node.attribute if entry.name == "value")
    for tensor in (*graph.initializer, *values):
        kind = onnx.TensorProto.DataType.Name(tensor.data_type) if tensor.data_type in onnx.TensorProto.DataType.values() else ""
        if kind in _FLOATS:
            elements[kind] += math.prod(tensor.dims)
    return _FLOATS[max(elements, key=elements.__getitem__)] if elements else "fp32"


def _rectified(graph: Any) -> frozenset[str]:
    """See `OnnxFile.rectified`."""
    import onnx

    unsigned = [each for each in graph.initializer if each.data_type in (onnx.TensorProto.UINT8, onnx.TensorProto.UINT16)]
    zeros = {tensor.name for tensor in unsigned if not any(tensor.raw_data) and not any(tensor.int32_data)}
    quantised = (node for node in graph.node if node.op_type == "QuantizeLinear" and len(node.input) > 2)
    return frozenset(node.output[0] for node in quantised if node.input[2] in zeros)


def _fix_batch(path: Path, value: Any) -> str:
    """Sets a batch dimension left open to 1 and returns its name, "" where it has none; others must be numbers."""
    dims = value.type.tensor_type.shape.dim
    batch = dims[0].dim_param if dims else ""
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        raise ModelFileError(f"{path}: input {value.name!r} has no shape: export the model at one size")
    for axis, dim in enumerate(dims):
        known = dim.HasField("dim_value") and dim.dim_value > 0
        if axis == 0 and not known:
            dim.dim_value = 1
        elif not known:
            name = dim.dim_param or "?"
            raise ModelFileError(
                f"{path}: input {value.name!r} has the dynamic dimension {name!r} (axis {axis}): only the batch may be left open; "
                "export the model at one size"
            )
        elif axis == 0 and len(dims) > 1 and dim.dim_value != 1:
            raise ModelFileError(f"{path}: input {value.name!r} has a batch of {dim.dim_value}: predictions are for one image")
    return batch


def _nodes(graph: Any) -> Iterator[Node]:
    for node in graph.node:
        kind = node.op_type if node.domain in _OWN_DOMAINS else f"{node.domain}.{node.op_type}"
        attributes = {
            entry.name: list(entry.ints) if entry.ints else entry.i for entry in node.attribute if entry.ints or entry.HasField("i")
        }
        yield Node(kind, node.name or node.output[0], tuple(node.input), tuple(node.output), MappingProxyType(attributes))
