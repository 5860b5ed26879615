"""From the choices of a space to blocks with resolved shapes.

A network is a row of places (stem, layers, head, classifier). The block at a place depends on a few choices only, which each place names:
so a space can be folded into small tables, one a place, from choices to block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from nas.architecture import BlockSpec, GeneValue, make_divisible
from nas.space_file import HeadFile, OpChoice, SpaceFile, StageFile

__all__ = ["Place", "choices", "places"]

Values = Mapping[str, GeneValue]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a block can stand.

    Attributes:
        depends: names of the choices that decide the block.
        build: from the values of these choices to the block; None where the stage is not that deep, or for an identity.
    """

    name: str
    depends: tuple[str, ...]
    build: Callable[[Values], BlockSpec | None]


def choices(file: SpaceFile) -> dict[str, tuple[GeneValue, ...]]:
    """Every choice by name, from small to large, those with one option included ("s0.width" is the stem's)."""
    found: dict[str, tuple[GeneValue, ...]] = {"resolution": file.resolution, "s0.width": (file.stem.out_chs,)}
    for number, stage in enumerate(file.stages, 1):
        found[f"s{number}.width"] = stage.out_chs
        found[f"s{number}.depth"] = stage.depth
        for layer in range(1, max(stage.depth) + 1):
            if stage.op:
                found[f"s{number}.b{layer}.op"] = tuple(sorted(stage.op, key=partial(_op_size, file)))
            else:
                found[f"s{number}.b{layer}.kernel_size"] = stage.kernel_size
                found[f"s{number}.b{layer}.expand_ratio"] = stage.expand_ratio
    return found


def places(file: SpaceFile, in_chs: int, num_classes: int) -> Iterator[Place]:
    """Places of a space in order of execution, for images of `in_chs` channels and `num_classes` classes."""
    yield Place("stem", ("resolution",), partial(_stem, file, in_chs))
    strides = [file.stem.stride]
    for number, stage in enumerate(file.stages, 1):
        for layer in range(1, max(stage.depth) + 1):
            name = f"s{number}.b{layer}"
            own = (f"{name}.op",) if stage.op else (f"{name}.kernel_size", f"{name}.expand_ratio")
            widths = (f"s{number - 1}.width", f"s{number}.width") if layer == 1 else (f"s{number}.width",)
            yield Place(
                name, ("resolution", *widths, f"s{number}.depth", *own), partial(_layer, file, stage, number, layer, tuple(strides))
            )
            if layer == 1:
                strides.append(stage.stride)
    last = f"s{len(file.stages)}.width"
    known_chs: int | None = None  # channels once a head item has fixed them
    for number, item in enumerate(file.head, 1):
        pooled = item.kind == "linear"
        depends = () if pooled and known_chs else ("resolution", last)
        yield Place(f"head.{number}", depends, partial(_head, file, item, number, last, known_chs, tuple(strides)))
        known_chs = item.out_chs or known_chs
    yield Place("classifier", () if known_chs else (last,), partial(_classifier, last, known_chs, num_classes))


def _op_size(file: SpaceFile, name: str) -> tuple[float, ...]:
    """Order of named operators: identity first, then by expansion, kernel and dense before grouped."""
    op = file.ops[name]
    return (0,) if op.skip else (1, op.expand_ratio, op.kernel_size, -op.groups)


def _shrink(size: int, strides: Sequence[int]) -> int:
    for stride in strides:
        size = -(-size // stride)
    return size


def _stem(file: SpaceFile, in_chs: int, values: Values) -> BlockSpec:
    stem = file.stem
    return BlockSpec(
        "stem", "conv", in_chs, stem.out_chs, int(values["resolution"]), stem.kernel_size, stem.stride, act=stem.act or file.act
    )  # fmt: skip


def _layer(file: SpaceFile, stage: StageFile, number: int, layer: int, strides: tuple[int, ...], values: Values) -> BlockSpec | None:
    if int(values[f"s{number}.depth"]) < layer:
        return None
    name = f"s{number}.b{layer}"
    out_chs = int(values[f"s{number}.width"])
    in_chs = int(values[f"s{number - 1}.width"]) if layer == 1 else out_chs
    stride = stage.stride if layer == 1 else 1
    in_size = _shrink(int(values["resolution"]), strides)
    act = stage.act or file.act
    if stage.op:
        op = file.ops[str(values[f"{name}.op"])]
    else:
        op = OpChoice(kernel_size=int(values[f"{name}.kernel_size"]), expand_ratio=float(values[f"{name}.expand_ratio"]))
    same_shape = stride == 1 and in_chs == out_chs
    if op.skip:
        return None if same_shape else BlockSpec(name, "conv", in_chs, out_chs, in_size, 1, stride, act=act)
    expand = file.expand_always or op.expand_ratio != 1
    mid_chs = make_divisible(in_chs * op.expand_ratio) if op.expand_ratio != 1 else in_chs
    se_chs = 0
    if stage.se:
        base = in_chs if file.se.of == "input" else mid_chs
        se_chs = max(1, int(base * file.se.ratio)) if file.se.divisor == 1 else make_divisible(base * file.se.ratio, file.se.divisor)
    return BlockSpec(
        name, "mbconv", in_chs, out_chs, in_size, op.kernel_size, stride, act=act, mid_chs=mid_chs, expand=expand, groups=op.groups,
        se_chs=se_chs, se_act=file.se.act, se_gate=file.se.gate, residual=same_shape,
    )  # fmt: skip


def _head(
    file: SpaceFile, item: HeadFile, number: int, last: str, known_chs: int | None, strides: tuple[int, ...], values: Values
) -> BlockSpec:
    in_chs = known_chs or int(values[last])
    if item.kind == "linear":
        return BlockSpec(f"head.{number}", "linear", in_chs, item.out_chs or in_chs, 1, act=item.act or file.act)
    in_size = _shrink(int(values["resolution"]), strides)
    act = (item.act or file.act) if item.kind == "conv" else "none"
    return BlockSpec(f"head.{number}", item.kind, in_chs, item.out_chs or in_chs, in_size, act=act)


def _classifier(last: str, known_chs: int | None, num_classes: int, values: Values) -> BlockSpec:
    return BlockSpec("classifier", "linear", known_chs or int(values[last]), num_classes, 1)
