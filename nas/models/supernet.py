"""The weight-sharing network: one set of weights, of which every network of a space takes slices."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nas.architecture import BlockSpec
from nas.errors import SpaceError
from nas.models.blocks import build_block
from nas.models.network import Network

__all__ = ["Supernet"]

_ONE_AT_A_TIME = threading.Lock()
"""Entering and leaving a device sets and resets a variable of the whole process (torch.utils._device), also for supernets in threads."""


class Supernet(nn.Module):
    """Elastic network; which of its networks runs is an argument of `forward`, not a state.

    Each place of the space holds one plain module with the largest shapes that stand there. A block takes the first channels and the centre
    of the kernel (Cai et al. 2020, arXiv:1908.09791, section 3.2, without kernel transforms). Training uses the statistics of the batch and
    changes no buffer; networks that are extracted get their own by `recalibrate`.

    Args:
        blocks: all different blocks of the space, `SearchSpace.blocks`.
    """

    def __init__(self, blocks: Iterable[BlockSpec]) -> None:
        super().__init__()
        by_key: dict[str, list[BlockSpec]] = defaultdict(list)
        for block in blocks:
            by_key[_key(block)].append(block)
        self.shared = nn.ModuleDict({key: build_block(_hull(group)) for key, group in by_key.items()})
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Structure and slices, by block and mode. Not submodules: the state of the supernet is its weights alone.
        self._parts: dict[tuple[BlockSpec, bool], _Part] = {}

    def forward(self, x: Tensor, blocks: Sequence[BlockSpec], keeps: Sequence[Tensor | None] | None = None) -> Tensor:
        """Images (batch, in_chs, size, size) to logits (batch, num_classes) by the network of `blocks`.

        Args:
            keeps: for each block what its residual branch is multiplied by, (batch, 1, 1, 1), or None (drop path).

        Raises:
            SpaceError: a block that this supernet does not hold.
        """
        for block, keep in zip(blocks, keeps or [None] * len(blocks), strict=True):
            part = self._part(block, self.training)
            arguments = (x,) if keep is None else (x, keep)
            x = functional_call(part.template, part.slices(), arguments, tie_weights=False)
        return x

    def extract(self, blocks: Sequence[BlockSpec]) -> Network:
        """The network of `blocks` with copies of its slices, in eval mode; its batch norm wants `recalibrate`."""
        network = Network(blocks)
        with torch.no_grad():
            for block, module in zip(blocks, network.body, strict=True):
                own = dict(module.named_parameters()) | dict(module.named_buffers())
                for name, tensor in self._part(block, training=False).slices().items():
                    own[name].copy_(tensor)
        return network.eval()

    def _part(self, block: BlockSpec, training: bool) -> _Part:
        key = (block, training)
        if key not in self._parts:
            self._parts[key] = self._make_part(block, training)
        return self._parts[key]

    def _make_part(self, block: BlockSpec, training: bool) -> _Part:
        with _ONE_AT_A_TIME, torch.device("meta"):
            template = build_block(block).train(training)
        if training:
            for layer in template.modules():
                if isinstance(layer, nn.BatchNorm2d):  # without running statistics it uses and keeps none
                    layer.running_mean = layer.running_var = layer.num_batches_tracked = None
                elif isinstance(layer, nn.ReLU | nn.ReLU6):  # batch norm needs its input for the gradient, not its output
                    layer.inplace = True
        key = _key(block)
        if key not in self.shared:
            raise SpaceError(f"the supernet has no {block.kind} at {block.name!r}: it was built for another space")
        wanted = dict(template.named_parameters()) | {name: like for name, like in template.named_buffers() if like.dim()}
        shared: dict[str, nn.Module] = dict(self.shared[key].named_modules())
        places = []
        for name, like in wanted.items():
            owner, _, leaf = name.rpartition(".")
            tensor = getattr(shared.get(owner), leaf, None)
            if tensor is None:
                raise SpaceError(f"the supernet has no {name} at {block.name!r}: it was built for another space")
            places.append((name, shared[owner], leaf, _index(tensor.shape, like.shape)))
        return _Part(template, tuple(places))


@dataclass(frozen=True, slots=True)
class _Part:
    """One block of a network: a module without weights, and where in the shared modules each of its tensors lies."""

    template: nn.Module
    places: tuple[tuple[str, nn.Module, str, tuple[slice, ...] | None], ...]

    def slices(self) -> dict[str, Tensor]:
        """Views of the shared tensors in the shapes of the block, by the names of its module."""
        found = {}
        for name, owner, leaf, index in self.places:
            tensor: Tensor = getattr(owner, leaf)
            found[name] = tensor if index is None else tensor[index]
        return found


def _key(block: BlockSpec) -> str:
    return f"{block.name}-{block.kind}".replace(".", "_")


def _index(have: torch.Size, need: torch.Size) -> tuple[slice, ...] | None:
    """First channels, centre of the kernel; None for all of it."""
    if have == need:
        return None
    if any(a < b for a, b in zip(have, need, strict=True)):
        raise SpaceError(f"the supernet's tensor of shape {tuple(have)} is too small for {tuple(need)}: it was built for another space")
    starts = [0 if axis < 2 else (a - b) // 2 for axis, (a, b) in enumerate(zip(have, need, strict=True))]
    return tuple(slice(start, start + b) for start, b in zip(starts, need, strict=True))


def _hull(blocks: Sequence[BlockSpec]) -> BlockSpec:
    """The block with the largest shapes of all; its stride and residual do not matter, it only holds weights."""

    def largest(field: str) -> int:
        return max(cast("int", getattr(block, field)) for block in blocks)

    in_chs, expand = largest("in_chs"), any(block.expand for block in blocks)
    return replace(
        blocks[0], in_chs=in_chs, out_chs=largest("out_chs"), kernel_size=largest("kernel_size"), se_chs=largest("se_chs"), expand=expand,
        mid_chs=largest("mid_chs"), groups=1, stride=1, residual=False,
    )  # fmt: skip
