"""An ONNX file as nodes with resolved shapes, batch 1. Weights are not read: only their shapes are.

Home of `onnx` for reading: `nas.hardware.onnx_graph` turns the nodes into operators.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import MissingExtraError, ModelFileError

__all__ = ["Node", "OnnxFile", "read_onnx"]

_OWN_DOMAINS = ("", "ai.onnx")
_SMALL = 1024  # elements of a tensor that may be a shape, axes or scales


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
    """

    nodes: tuple[Node, ...]
    shapes: Mapping[str, tuple[int, ...]]
    constants: frozenset[str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    metadata: Mapping[str, str]


def read_onnx(path: Path) -> OnnxFile:
    """Reads an ONNX file. A batch dimension left open is 1.

    Raises:
        ModelFileError: absent, truncated, not ONNX, weights missing beside it, a batch other than 1, or other dimensions left open.
        MissingExtraError: onnx is not installed.
    """
    model = _load(path)
    graph = model.graph
    _check_whole(path, graph)
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    weights |= {sparse.values.name: tuple(sparse.dims) for sparse in graph.sparse_initializer}
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    inputs = tuple(value.name for value in graph.input if value.name not in weights)
    if not inputs:
        raise ModelFileError(f"{path}: has no input")
    for value in graph.input:
        if value.name in inputs:
            _fix_batch(path, value)
    shapes = {**weights, **_shapes(path, model)}
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
    return OnnxFile(tuple(nodes), shapes, frozenset(constants), inputs, tuple(value.name for value in graph.output), metadata)


def _load(path: Path) -> Any:
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
        where = {entry.key: entry.value for entry in tensor.external_data}
        if "location" not in where:
            continue
        beside = path.parent / where["location"]
        wanted = int(where.get("offset", 0)) + int(where.get("length", 0))
        if not beside.is_file():
            raise ModelFileError(f"{path}: weights of {tensor.name!r} are in {beside}, which is absent: put it beside the model")
        if beside.stat().st_size < wanted:
            raise ModelFileError(f"{path}: weights in {beside} are truncated: {beside.stat().st_size} of {wanted} bytes or more")


def _fix_batch(path: Path, value: Any) -> None:
    """Sets a batch dimension left open to 1; others must be numbers."""
    dims = value.type.tensor_type.shape.dim
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


def _shapes(path: Path, model: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors that can be inferred, the batch of the inputs being fixed. Takes the model's weights out of it.

    Exporters compute shapes with nodes (Shape, Gather, Concat, ... into Reshape): what depends on shapes alone is evaluated, and shapes
    are inferred again, until nothing new is known.
    """
    import onnx

    graph = model.graph
    known = _take_weights_out(model)
    del graph.value_info[:]  # they may hold the batch as a name
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    while True:
        try:
            inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as exc:
            text = " ".join(str(exc).split())[:200]
            raise ModelFileError(f"{path}: its operators do not fit together: {text}") from exc
        found = {}
        for value in (*inferred.input, *inferred.value_info, *inferred.output):
            kind = value.type.tensor_type
            if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
                found[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
        if not _fold(graph, known, found):
            return found


def _take_weights_out(model: Any) -> dict[str, NDArray[Any]]:
    """Turns large weights into inputs without values, and returns the values of the small ones (scales of a resize, axes, shapes)."""
    import onnx

    small, graph = {}, model.graph
    for tensor in list(graph.initializer):
        if tensor.data_location != onnx.TensorProto.EXTERNAL and math.prod(tensor.dims) <= _SMALL:
            small[tensor.name] = onnx.numpy_helper.to_array(tensor)
            continue
        if all(value.name != tensor.name for value in graph.input):
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tuple(tensor.dims)))
        graph.initializer.remove(tensor)
    return small


def _fold(graph: Any, known: dict[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Replaces nodes whose result is known by that result. Whether there were any."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    folded = False
    results: list[Any]
    for node in list(graph.node):
        if node.op_type == "Shape" and node.input[0] in shapes and not node.attribute:
            results = [np.array(shapes[node.input[0]], dtype=np.int64)]
        elif node.op_type == "Constant" or (node.input and all(name in known for name in node.input)):
            try:
                results = list(ReferenceEvaluator(node).run(None, {name: known[name] for name in node.input}))
            except Exception:  # noqa: S112 - not all operators have a reference; then the shape stays unknown, which is said where it matters
                continue
        else:
            continue
        if all(isinstance(result, np.ndarray | np.generic) and np.size(result) <= _SMALL for result in results):
            for name, result in zip(node.output, results, strict=True):
                known[name] = np.asarray(result)
                graph.initializer.append(onnx.numpy_helper.from_array(known[name], name))
            graph.node.remove(node)
            folded = True
    return folded


def _nodes(graph: Any) -> Iterator[Node]:
    for node in graph.node:
        kind = node.op_type if node.domain in _OWN_DOMAINS else f"{node.domain}.{node.op_type}"
        attributes = {
            entry.name: list(entry.ints) if entry.ints else entry.i for entry in node.attribute if entry.ints or entry.HasField("i")
        }
        yield Node(kind, node.name or node.output[0], tuple(node.input), tuple(node.output), MappingProxyType(attributes))
