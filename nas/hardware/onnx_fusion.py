"""Fuses the nodes of an ONNX file into operators, one node after another. What is fused: see `nas.hardware.onnx_graph`."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from nas.errors import ModelFileError
from nas.hardware.onnx_file import Node, OnnxFile
from nas.ops import Op, OpKind

__all__ = ["Draft", "Fusion", "unknown_kinds"]

_QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
_FREE = {"Identity", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Cast", *_QUANTISERS}
# Priced as what their arithmetic is like: a comparison, a hardswish, or an exponential.
_ACTS = {
    "Relu": "relu", "LeakyRelu": "relu", "PRelu": "relu", "ThresholdedRelu": "relu", "Clip": "relu6", "Abs": "relu",
    "HardSwish": "hardswish", "HardSigmoid": "hardsigmoid", "Sigmoid": "sigmoid", "Tanh": "sigmoid", "Elu": "sigmoid", "Selu": "sigmoid",
    "Celu": "sigmoid", "Softplus": "sigmoid", "Mish": "silu", "Gelu": "silu", "Erf": "sigmoid", "Exp": "sigmoid", "Sqrt": "hardsigmoid",
    "Softmax": "sigmoid", "LogSoftmax": "sigmoid", "Swish": "silu",
}  # fmt: skip
_GATES = {"Sigmoid": "silu", "HardSigmoid": "hardswish"}  # times its own input
_ARITHMETIC = {"Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Sum"}
_POOLS = (
    "GlobalAveragePool", "GlobalMaxPool", "AveragePool", "MaxPool", "LpPool", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum",
    "ReduceL2", "ArgMax",
)  # fmt: skip
_SHUFFLES = ("Transpose", "DepthToSpace", "SpaceToDepth")
_WITHOUT_WEIGHTS: Mapping[str, OpKind] = {
    **dict.fromkeys(_POOLS, "pool"),
    **dict.fromkeys(_SHUFFLES, "shuffle"),
    **dict.fromkeys(("Concat", "Split", "Slice", "Pad", "Expand", "Tile", "Gather"), "copy"),
    **dict.fromkeys(("Resize", "Upsample"), "resize"),
}
_KNOWN = {*_FREE, *_ACTS, *_ARITHMETIC, *_WITHOUT_WEIGHTS, "Conv", "Gemm", "MatMul", "BatchNormalization"}


@dataclass(slots=True)
class Draft:
    """An operator while what follows may still be fused into it: `writes` moves on to the output of the last node that was."""

    op: Op
    name: str
    reads: tuple[str, ...]
    writes: str


class Fusion:
    """Nodes in, drafts out. `root` maps a tensor to the one that holds its data; `writer` a root to its draft."""

    def __init__(self, file: OnnxFile, where: str) -> None:
        self.file, self.where = file, where
        self.drafts: list[Draft] = []
        self.unknown: list[str] = []
        self.left_out: list[str] = []
        self.root = {name: name for name in file.inputs}
        self.writer: dict[str, int] = {}
        self.users = Counter(name for node in file.nodes for name in set(node.inputs))
        self.users.update(file.outputs)
        self.gated = self._gates()

    def _gates(self) -> dict[str, Node]:
        """Sigmoids that only gate their own input: output of the sigmoid, and what the product reads of it, to its node. The input then
        has one user less. Between them may be quantise and dequantise nodes."""
        sigmoids = {node.outputs[0]: node for node in self.file.nodes if node.kind in _GATES and self.users[node.outputs[0]] == 1}
        steps = {node.outputs[0]: node.inputs[0] for node in self.file.nodes if node.kind in _QUANTISERS}

        def source(name: str) -> str:
            while name in steps:
                name = steps[name]
            return name

        found = {}
        for node in self.file.nodes:
            if node.kind == "Mul" and len(node.inputs) == 2:
                for gate, gated in (node.inputs, node.inputs[::-1]):
                    sigmoid = sigmoids.get(source(gate))
                    if sigmoid is not None and self.users[gate] == 1 and source(sigmoid.inputs[0]) == source(gated):
                        found[gate] = found[sigmoid.outputs[0]] = sigmoid
                        self.users[gated] -= 1
        return found

    def take(self, node: Node) -> None:
        """Adds a node's operator, or fuses it into one that is there."""
        kind, reads = node.kind, [name for name in node.inputs if name and name not in self.file.constants]
        gate = next((self.gated[name] for name in reads if name in self.gated), None) if kind == "Mul" else None
        if node.outputs[0] in self.gated:
            return  # comes with its product
        if kind in _FREE:
            if node.outputs[0] in self.file.rectified:
                self._rectify(reads[0])
            self._alias(node.outputs[0], reads[0])
        elif gate is not None:
            self._activate(node, gate.inputs[0], _GATES[gate.kind])
        elif kind in _ACTS:
            self._activate(node, reads[0], _ACTS[kind])
        elif kind == "BatchNormalization":
            self._scale(node, reads[0])
        elif kind in _ARITHMETIC and len(reads) == 1:
            self._with_constant(node, reads[0])
        elif kind == "Conv" and len(self._shape(node.inputs[0])) == 4 and node.inputs[1] in self.file.constants:
            self._convolve(node)
        elif kind in ("Gemm", "MatMul") and len(reads) == 1 and node.inputs[1] in self.file.constants:
            self._multiply(node)
        elif kind == "Pad" and self.users[node.outputs[0]] == 1 and self._only_user(node.outputs[0]).kind == "Conv":
            self._alias(node.outputs[0], reads[0])
        elif kind in _ARITHMETIC and len(reads) > 1:
            self._combine(node, reads)
        elif kind in _SHUFFLES and self._moves_nothing(node):
            self._alias(node.outputs[0], reads[0])
        elif kind in _WITHOUT_WEIGHTS:
            self._add(node, reads, self._plain(_WITHOUT_WEIGHTS[kind], node, reads[0]))
        else:
            self._pass_over(node, reads)

    def _pass_over(self, node: Node, reads: list[str]) -> None:
        """An operator that no cost is known for."""
        self.unknown.append(_named(node))
        if not all(name in self.file.shapes for name in (reads[0], *filter(None, node.outputs))):
            raise ModelFileError(
                f"{self.where}: no cost is known for {_named(node)}, nor the shape of what it writes: save the file with the shapes of its "
                "tensors (value_info), or replace the operator"
            )
        self._add(node, reads, self._plain("elementwise", node, reads[0], role="unknown"))

    # --- one kind of node each --------------------------------------------------------------------------------------------------

    def _convolve(self, node: Node) -> None:
        out_chs, per_group, height, width = self._image(node, node.inputs[1])
        _, in_chs, in_size, in_width = self._image(node, node.inputs[0])
        _, _, out_size, out_width = self._image(node, node.outputs[0])
        if in_chs % per_group or out_chs % (in_chs // per_group):
            raise ModelFileError(f"{self.where}: {node.name}: weights of {out_chs} x {per_group} channels do not fit {in_chs} channels")
        op = Op(
            "conv", in_chs, out_chs, in_size, out_size, height, node.attributes.get("strides", [1])[0], in_chs // per_group,
            bias=len(node.inputs) > 2 and bool(node.inputs[2]), role="stem" if self.root_of(node.inputs[0]) in self.file.inputs else "conv",
            in_width=_other(in_width, in_size), out_width=_other(out_width, out_size), kernel_width=_other(width, height),
        )  # fmt: skip
        self._add(node, [node.inputs[0]], op)

    def _multiply(self, node: Node) -> None:
        """A matrix product with weights: `rows` vectors at once, one after a global pool."""
        out_shape = self._shape(node.outputs[0])
        out_chs, in_chs = out_shape[-1], math.prod(self._shape(node.inputs[1])) // out_shape[-1]
        rows = math.prod(out_shape) // out_chs
        bias = node.kind == "Gemm" and len(node.inputs) > 2
        one = _other(1, rows)
        self._add(node, [node.inputs[0]], Op("linear", in_chs, out_chs, rows, rows, bias=bias, role="head", in_width=one, out_width=one))

    def _combine(self, node: Node, reads: list[str]) -> None:
        """Arithmetic of tensors: a scale where one is a vector over the channels, else an addition."""
        shapes = [self._shape(name) for name in reads]
        largest = max(range(len(reads)), key=lambda index: math.prod(shapes[index]))
        vectors = [name for name, shape in zip(reads, shapes, strict=True) if math.prod(shape[2:]) == 1]
        if node.kind in ("Mul", "Div") and len(reads) == 2 and vectors and math.prod(shapes[largest][2:]) > 1:
            self._add(node, [reads[largest], vectors[0]], self._plain("mul", node, reads[largest], role="scale"))
        else:
            self._add(node, reads, self._plain("add", node, reads[largest], role="residual"))

    def _activate(self, node: Node, source: str, act: str) -> None:
        draft = self._open(source)
        if draft is None or draft.op.kind in ("pool", "shuffle", "copy", "resize"):
            self._add(node, [source], dataclasses.replace(self._plain("elementwise", node, source), act=act))
        else:
            draft.op = dataclasses.replace(draft.op, act=act)
            self._extend(draft, source, node)

    def _rectify(self, source: str) -> None:
        """A quantisation that holds nothing below zero: the quantiser has taken the relu before it away."""
        draft = self._open(source)
        if draft is not None and draft.op.kind in ("conv", "linear", "add"):
            draft.op = dataclasses.replace(draft.op, act="relu")

    def _scale(self, node: Node, source: str) -> None:
        draft = self._open(source)
        if draft is not None and draft.op.kind in ("conv", "linear") and not draft.op.batch_norm:
            draft.op = dataclasses.replace(draft.op, batch_norm=True)
            self._extend(draft, source, node)
        else:
            self._add(node, [source], self._plain("elementwise", node, source))

    def _with_constant(self, node: Node, source: str) -> None:
        if self.root_of(source) in self.file.inputs:
            self.left_out.append(_named(node))
            self._alias(node.outputs[0], source)
            return
        draft = self._open(source)
        constant = next(name for name in node.inputs if name != source)
        per_channel = math.prod(self.file.shapes.get(constant, (0,))) in (1, draft.op.out_chs if draft else 0)
        if draft is not None and draft.op.kind in ("conv", "linear") and per_channel and node.kind in ("Add", "Sub", "Mul", "Div"):
            draft.op = dataclasses.replace(draft.op, bias=draft.op.bias or node.kind in ("Add", "Sub"))
            self._extend(draft, source, node)
        else:
            self._add(node, [source], self._plain("elementwise", node, source))

    # --- the graph --------------------------------------------------------------------------------------------------------------

    def _plain(self, kind: OpKind, node: Node, source: str, role: str = "conv") -> Op:
        """An operator without weights, sizes from its tensors; several inputs count as one of the output's size for a concat."""
        out_chs, out_size, out_width = _layout(self._shape(node.outputs[0]))
        in_chs, in_size, in_width = _layout(self._shape(source)) if node.kind != "Concat" else (out_chs, out_size, out_width)
        kernel = node.attributes.get("kernel_shape", [1, 1]) if kind == "pool" else [1, 1]
        return Op(
            kind, in_chs, out_chs, in_size, out_size, kernel[0], role="head" if kind == "pool" else role, in_width=in_width,
            out_width=out_width, kernel_width=_other(kernel[-1], kernel[0]),
        )  # fmt: skip

    def _add(self, node: Node, reads: list[str], op: Op) -> None:
        roots = tuple(self.root_of(name) for name in reads)
        self.drafts.append(Draft(op, node.name, roots, node.outputs[0]))
        for name in node.outputs:
            self.root[name] = name
            self.writer[name] = len(self.drafts) - 1

    def _extend(self, draft: Draft, source: str, node: Node) -> None:
        """Fuses a node into the operator that writes its input."""
        index = self.writer.pop(self.root_of(source))
        draft.writes = node.outputs[0]
        self.root[node.outputs[0]] = node.outputs[0]
        self.writer[node.outputs[0]] = index

    def _alias(self, name: str, source: str) -> None:
        self.root[name] = self.root_of(source)
        self.users[self.root_of(source)] += self.users[name] - 1

    def root_of(self, name: str) -> str:
        """The tensor that holds the data of this one."""
        return self.root.get(name, name)

    def _open(self, source: str) -> Draft | None:
        """The operator that writes a tensor, where nothing else reads it and no activation ends it."""
        root = self.root_of(source)
        draft = self.drafts[self.writer[root]] if root in self.writer else None
        return draft if draft is not None and self.users[root] == 1 and draft.op.act == "none" else None

    def _only_user(self, name: str) -> Node:
        return next(node for node in self.file.nodes if name in node.inputs)

    def _moves_nothing(self, node: Node) -> bool:
        """A transposition that only moves axes of length 1."""
        order, shape = node.attributes.get("perm"), self._shape(node.inputs[0])
        return node.kind == "Transpose" and order is not None and (kept := [axis for axis in order if shape[axis] > 1]) == sorted(kept)

    def _image(self, node: Node, name: str) -> tuple[int, ...]:
        """A shape of four axes, none of them 0."""
        shape = self._shape(name)
        if len(shape) != 4 or min(shape) < 1:
            raise ModelFileError(f"{self.where}: {node.name}: {name!r} has the shape {list(shape)}, where a convolution needs four axes")
        return shape

    def _shape(self, name: str) -> tuple[int, ...]:
        if name not in self.file.shapes:
            raise ModelFileError(f"{self.where}: the shape of {name!r} is not fixed: export the model at one size")
        return self.file.shapes[name]


def unknown_kinds(file: OnnxFile) -> list[str]:
    """Nodes of kinds that no cost is known for, "kind (name)"; others can still turn out to be unknown by what they read."""
    return [_named(node) for node in file.nodes if node.kind not in _KNOWN]


def _named(node: Node) -> str:
    return f"{node.kind} ({node.name})"


def _other(width: int, height: int) -> int:
    """The width as `Op` has it: 0 where it is the height."""
    return 0 if width == height else width


def _layout(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height, width (0 where it is the height) of a tensor: the last two axes of four or more are pixels."""
    if len(shape) < 4:
        return math.prod(shape), 1, 0
    return math.prod(shape[:-2]), shape[-2], _other(shape[-1], shape[-2])
