"""Operators of a network as an inference runtime executes them: batch norm folded, activations fused where the kind allows.

`lower(blocks)` is the bridge from `BlockSpec`s to everything that counts: cost, features of the predictor, operator checks.
A reader of ONNX graphs gives the same `Op`s for our own exports.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from nas.architecture import BlockSpec

__all__ = ["Op", "OpKind", "lower", "lower_block"]

OpKind = Literal["conv", "linear", "pool", "add", "mul", "shuffle", "copy", "resize", "elementwise"]


@dataclass(frozen=True, slots=True)
class Op:
    """One operator, batch 1.

    Attributes:
        kind: conv (any groups; depthwise where groups == in_chs == out_chs), linear, pool (global where kernel_size is 1), add (of two
            tensors), mul (of a tensor and a vector over its channels: squeeze-excite's scale), shuffle (channel shuffle and other
            transpositions). From graphs of others too: copy (concat, split, pad), resize, elementwise (an activation, a normalisation
            or arithmetic with a constant that stays an operator of its own).
        in_size, out_size: height and width, pixels (1 for vectors); the height alone where a width is given.
        in_width, out_width, kernel_width: 0 where it is the height's.
        act: activation that follows; part of this operator where a runtime fuses it.
        batch_norm: a batch norm was trained here (two parameters a channel); deployment folds it into weights and bias.
        bias: trained with a bias of its own.
        held_elements: elements of other tensors that must stay in memory meanwhile (the input of a residual, the scales of a mul).
        role: "stem", "expand", "depthwise", "project", "se", "conv", "residual", "head": where in a block it stands. Only "se" changes
            what an operator counts as.
    """

    kind: OpKind
    in_chs: int
    out_chs: int
    in_size: int
    out_size: int
    kernel_size: int = 1
    stride: int = 1
    groups: int = 1
    act: str = "none"
    batch_norm: bool = False
    bias: bool = False
    held_elements: int = 0
    role: str = "conv"
    in_width: int = 0
    out_width: int = 0
    kernel_width: int = 0

    @property
    def in_pixels(self) -> int:
        return self.in_size * (self.in_width or self.in_size)

    @property
    def out_pixels(self) -> int:
        return self.out_size * (self.out_width or self.out_size)

    @property
    def kernel_pixels(self) -> int:
        return self.kernel_size * (self.kernel_width or self.kernel_size)

    @property
    def is_depthwise(self) -> bool:
        return self.kind == "conv" and self.groups > 1 and self.groups == self.in_chs == self.out_chs

    @property
    def weight_elements(self) -> int:
        """Weights without bias."""
        if self.kind not in ("conv", "linear"):
            return 0
        return self.kernel_pixels * (self.in_chs // self.groups) * self.out_chs

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and linear layers; 0 for all else."""
        return self.weight_elements * self.out_pixels

    @property
    def params(self) -> int:
        """Trained parameters: weights, bias, scale and shift of the batch norm."""
        return self.weight_elements + self.out_chs * (int(self.bias) + 2 * int(self.batch_norm))

    @property
    def in_elements(self) -> int:
        return self.in_chs * self.in_pixels

    @property
    def out_elements(self) -> int:
        return self.out_chs * self.out_pixels


def lower_block(block: BlockSpec) -> tuple[Op, ...]:
    """Operators of one block, in order of execution."""
    if block.kind == "pool":
        return (Op("pool", block.in_chs, block.out_chs, block.in_size, 1, role="head"),)
    if block.kind == "linear":
        return (Op("linear", block.in_chs, block.out_chs, 1, 1, act=block.act, bias=True, role="head"),)
    if block.kind == "conv":
        role = {"stem": "stem", "head": "head"}.get(block.name.split(".")[0], "conv")
        return (
            Op(
                "conv", block.in_chs, block.out_chs, block.in_size, block.out_size, block.kernel_size, block.stride,
                block.groups, block.act, batch_norm=True, role=role,
            ),
        )  # fmt: skip
    return tuple(_lower_mbconv(block))


def _lower_mbconv(block: BlockSpec) -> Iterable[Op]:
    in_chs, mid_chs, out_chs, size, out_size = block.in_chs, block.mid_chs, block.out_chs, block.in_size, block.out_size
    held = in_chs * size**2 if block.residual else 0
    if block.expand:
        # The block's input is this operator's own input: it is not held twice.
        yield Op("conv", in_chs, mid_chs, size, size, groups=block.groups, act=block.act, batch_norm=True, role="expand")
        if block.groups > 1:
            yield Op("shuffle", mid_chs, mid_chs, size, size, held_elements=held, role="expand")
    yield Op(
        "conv", mid_chs, mid_chs, size, out_size, block.kernel_size, block.stride, groups=mid_chs, act=block.act, batch_norm=True,
        held_elements=held if block.expand else 0, role="depthwise",
    )  # fmt: skip
    if block.se_chs:
        scaled = mid_chs * out_size**2
        yield Op("pool", mid_chs, mid_chs, out_size, 1, held_elements=held, role="se")
        yield Op("conv", mid_chs, block.se_chs, 1, 1, act=block.se_act, bias=True, held_elements=held + scaled, role="se")
        yield Op("conv", block.se_chs, mid_chs, 1, 1, act=block.se_gate, bias=True, held_elements=held + scaled, role="se")
        yield Op("mul", mid_chs, mid_chs, out_size, out_size, held_elements=held + mid_chs, role="se")
    yield Op("conv", mid_chs, out_chs, out_size, out_size, groups=block.groups, batch_norm=True, held_elements=held, role="project")
    if block.residual:
        yield Op("add", out_chs, out_chs, out_size, out_size, held_elements=held, role="residual")


def lower(blocks: Iterable[BlockSpec]) -> tuple[Op, ...]:
    """Operators of a network, in order of execution."""
    return tuple(op for block in blocks for op in lower_block(block))
