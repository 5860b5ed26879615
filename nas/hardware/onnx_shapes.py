"""Shapes of the tensors of an ONNX file whose inputs have one size.

Exporters compute shapes with nodes (Shape, Gather, Concat, ... into Reshape): what depends on shapes alone is evaluated, and shapes are
inferred again. What cannot be inferred is what the file says; behind operators that ONNX does not define, and that read and write one
tensor, the shape of what they read.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import ModelFileError

__all__ = ["known_shapes"]

_SMALL = 1024  # elements of a tensor that may be a shape, axes or scales


def known_shapes(where: str, model: Any, batches: Collection[str]) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors that can be known. Takes the weights and what is computed of constants out of the model.

    Args:
        where: the file, for messages.
        model: an `onnx.ModelProto` whose inputs have sizes.
        batches: names of the inputs' first dimensions: 1 wherever they stand.

    Raises:
        ModelFileError: operators that do not fit together, weights that are damaged.
    """
    graph = model.graph
    known, weights = _take_weights_out(where, model)
    said = _said(graph, batches)
    del graph.value_info[:]  # what is inferred from one image goes before what the file says
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    _import_domains(model)
    while True:
        found = _inferred(where, model)
        if _fold(graph, known, {name: _dims(value) for name, value in found.items()}):
            continue
        missing = [name for node in graph.node for name in node.output if name and name not in found]
        more = [said.pop(name) for name in missing if name in said] or _assumed(graph, found, {*known, *weights})
        if not more:
            return {name: value.shape for name, value in known.items()} | {name: _dims(value) for name, value in found.items()}
        graph.value_info.extend(more)


def _inferred(where: str, model: Any) -> dict[str, Any]:
    """Tensors (`onnx.ValueInfoProto`) whose shape is a list of numbers, by name."""
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as exc:
        text = " ".join(str(exc).split())[:200]
        raise ModelFileError(f"{where}: its operators do not fit together: {text}") from exc
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    return {value.name: value for value in values if _is_whole(value)}


def _is_whole(value: Any) -> bool:
    kind = value.type.tensor_type
    return bool(kind.HasField("shape")) and all(dim.HasField("dim_value") for dim in kind.shape.dim)


def _dims(value: Any) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _said(graph: Any, batches: Collection[str]) -> dict[str, Any]:
    """What the file says of its tensors, by name, where only the batch was left open."""
    found = {}
    for value in (*graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value") and dims[0].dim_param in batches:
            dims[0].dim_value = 1
        if _is_whole(value):
            copy = type(value)()
            copy.CopyFrom(value)
            found[value.name] = copy
    return found


def _assumed(graph: Any, found: Mapping[str, Any], constants: Collection[str]) -> list[Any]:
    """The first operator that ONNX does not define, with one known input and one output: the output is as the input."""
    import onnx

    for node in graph.node:
        reads = [name for name in node.input if name and name not in constants]
        writes = [name for name in node.output if name]
        is_defined = onnx.defs.has(node.op_type, "" if node.domain == "ai.onnx" else node.domain)
        if not is_defined and len(reads) == len(writes) == 1 and reads[0] in found and writes[0] not in found:
            copy = type(found[reads[0]])()
            copy.CopyFrom(found[reads[0]])
            copy.name = writes[0]
            return [copy]
    return []


def _import_domains(model: Any) -> None:
    """Names the domains of all operators: files that forget one are wrong, but what they hold can be read."""
    import onnx

    named = {entry.domain for entry in model.opset_import}
    for domain in {node.domain for node in model.graph.node} - named - {"", "ai.onnx"}:
        model.opset_import.append(onnx.helper.make_opsetid(domain, 1))


def _take_weights_out(where: str, model: Any) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Turns large weights into inputs without values; values of the small ones (scales of a resize, axes, shapes), names of the large."""
    import onnx

    small, large, graph = {}, [], model.graph
    for tensor in list(graph.initializer):
        if tensor.data_location != onnx.TensorProto.EXTERNAL and math.prod(tensor.dims) <= _SMALL:
            try:
                small[tensor.name] = onnx.numpy_helper.to_array(tensor)
            except (ValueError, TypeError, KeyError) as exc:
                raise ModelFileError(f"{where}: is damaged: {tensor.name!r} does not hold {list(tensor.dims)} elements ({exc})") from exc
            continue
        large.append(tensor.name)
        if all(value.name != tensor.name for value in graph.input):
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tuple(tensor.dims)))
        graph.initializer.remove(tensor)
    return small, large


def _fold(graph: Any, known: dict[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Replaces nodes whose result is known by that result. Whether there were any."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    folded = False
    results: list[Any]
    for node in list(graph.node):
        if node.op_type == "Shape" and node.input[0] in shapes:
            ends = {entry.name: entry.i for entry in node.attribute}
            results = [np.array(shapes[node.input[0]][ends.get("start") : ends.get("end")], dtype=np.int64)]
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
