"""From an ONNX graph to operators as a runtime fuses them: the same `nas.ops.Op`s that our own blocks lower to.

Fused as inference runtimes do: batch norm, per-channel constants and padding into the convolution, an activation into the operator that
writes its input, x * sigmoid(x) into silu and x * hardsigmoid(x) into hardswish; global pool, convolutions of a vector and the product
are a squeeze-excite. Free: reshapes, identities, quantise and dequantise nodes. Arithmetic with constants on the network's input (the
normalisation inside files that we deploy) is left out, and `Graph.left_out` says so: blocks do not have it either.

The one number that a file cannot give is that of trained parameters: a batch norm folded into a bias is one number a channel, where the
network's blocks count the two that were trained (`nas.cost`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.errors import ModelFileError
from nas.hardware.onnx_file import OnnxFile, read_onnx
from nas.hardware.onnx_fusion import Fusion, unknown_kinds
from nas.ops import Op

__all__ = ["Graph", "lower_graph", "read_graph"]


@dataclass(frozen=True, slots=True)
class Graph:
    """A network as its operators.

    Attributes:
        ops: in order of execution.
        names: of the nodes that they begin with.
        unknown: operators that no cost is known for, "kind (node)": in `ops` as a pass over their tensors.
        left_out: nodes on the input that are no part of the network: its normalisation.
    """

    ops: tuple[Op, ...]
    names: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def read_graph(path: Path, allow_unknown: bool = False) -> Graph:
    """Operators of an ONNX file.

    Args:
        allow_unknown: operators that no cost is known for count as a pass over their tensors, instead of being refused.

    Raises:
        ModelFileError: as `read_onnx`; no images go in; an unknown operator, by name; a shape that cannot be known.
    """
    return lower_graph(read_onnx(path), str(path), allow_unknown)


def lower_graph(file: OnnxFile, where: str, allow_unknown: bool = False) -> Graph:
    """Operators of a file's nodes. See `read_graph`."""
    if not any(len(file.shapes.get(name, ())) == 4 for name in file.inputs):
        shapes = ", ".join(f"{name} {list(file.shapes.get(name, ()))}" for name in file.inputs)
        raise ModelFileError(f"{where}: reads {shapes}: an image network reads images of (1, chs, height, width)")
    if not allow_unknown:
        _refuse(where, unknown_kinds(file))  # first of all: what is behind one may have no shape
    fusion = Fusion(file, where)
    for node in file.nodes:
        fusion.take(node)
    if not allow_unknown:
        _refuse(where, fusion.unknown)
    if not fusion.drafts:
        raise ModelFileError(f"{where}: holds no operators that cost anything")
    _name_squeeze_excites(fusion)
    ops = [dataclasses.replace(draft.op, held_elements=held) for draft, held in zip(fusion.drafts, _held(fusion, file), strict=True)]
    return Graph(tuple(ops), tuple(draft.name for draft in fusion.drafts), tuple(fusion.unknown), tuple(fusion.left_out))


def _refuse(where: str, unknown: Sequence[str]) -> None:
    if unknown:
        shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        raise ModelFileError(f"{where}: no cost is known for {shown}: --allow-unknown counts them as a pass over their tensors")


def _name_squeeze_excites(fusion: Fusion) -> None:
    """Gives the role "se" to a scale by a vector that a pool of the scaled tensor made, and to what is between."""
    for draft in fusion.drafts:
        if draft.op.kind != "mul":
            continue
        scaled, vector = draft.reads
        chain = [draft]
        while vector in fusion.writer and (maker := fusion.drafts[fusion.writer[vector]]).op.out_pixels == 1:
            chain.append(maker)
            vector = maker.reads[0]
            if maker.op.kind == "pool":
                break
        if chain[-1].op.kind == "pool" and vector == scaled and len(chain) > 2:
            for each in chain:
                # A linear layer on a pooled vector is the same arithmetic as a 1x1 convolution of it.
                kind = "conv" if each.op.kind == "linear" else each.op.kind
                each.op = dataclasses.replace(each.op, role="se", kind=kind)


def _held(fusion: Fusion, file: OnnxFile) -> list[int]:
    """Elements that must stay in memory beside an operator's own input and output, in the order of the drafts."""
    last = {name: number for number, draft in enumerate(fusion.drafts) for name in draft.reads}
    last |= {fusion.root_of(name): len(fusion.drafts) for name in file.outputs}
    born = {fusion.root_of(name): -1 for name in file.inputs} | {draft.writes: number for number, draft in enumerate(fusion.drafts)}
    found = []
    for number, draft in enumerate(fusion.drafts):
        own = set(draft.reads[:1]) if draft.op.kind in ("add", "mul") else set(draft.reads)
        live = (name for name, start in born.items() if start < number <= last.get(name, -1) and name not in own)
        found.append(sum(math.prod(file.shapes.get(name, (0,))) for name in live))
    return found
