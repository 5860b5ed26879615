"""The weight-sharing network: one set of weights, of which every network of a space takes slices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nas.architecture import BlockSpec
from nas.errors import SpaceError
from nas.models.blocks import build_block
from nas.models.network import Network

__all__ = ["Supernet"]


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
        # Structure without weights, by block and mode. Not a submodule: the state of the supernet is its weights alone.
        self._templates: dict[tuple[BlockSpec, bool], nn.Module] = {}

    def forward(self, x: Tensor, blocks: Sequence[BlockSpec]) -> Tensor:
        """Images (batch, in_chs, size, size) to logits (batch, num_classes) by the network of `blocks`.

        Raises:
            SpaceError: a block that this supernet does not hold.
        """
        for block in blocks:
            x = functional_call(self._template(block, self.training), self._slices(block, self.training), (x,))
        return x

    def extract(self, blocks: Sequence[BlockSpec]) -> Network:
        """The network of `blocks` with copies of its slices, in eval mode; its batch norm wants `recalibrate`."""
        network = Network(blocks)
        with torch.no_grad():
            for block, module in zip(blocks, network.body, strict=True):
                own = dict(module.named_parameters()) | dict(module.named_buffers())
                for name, tensor in self._slices(block, training=False).items():
                    own[name].copy_(tensor)
        return network.eval()

    def _template(self, block: BlockSpec, training: bool) -> nn.Module:
        key = (block, training)
        if key not in self._templates:
            with torch.device("meta"):
                module = build_block(block)
            if training:
                for layer in module.modules():
                    if isinstance(layer, nn.BatchNorm2d):  # without running statistics it uses and keeps none
                        layer.running_mean = layer.running_var = layer.num_batches_tracked = None
            self._templates[key] = module.train(training)
        return self._templates[key]

    def _slices(self, block: BlockSpec, training: bool) -> dict[str, Tensor]:
        """Views of the shared tensors in the shapes that `block` needs, by the names of its module."""
        key = _key(block)
        if key not in self.shared:
            raise SpaceError(f"the supernet has no {block.kind} at {block.name!r}: it was built for another space")
        template = self._template(block, training)
        shared = dict(self.shared[key].named_parameters()) | dict(self.shared[key].named_buffers())
        wanted = dict(template.named_parameters()) | {name: like for name, like in template.named_buffers() if like.dim()}
        missing = wanted.keys() - shared.keys()
        if missing:
            raise SpaceError(f"the supernet has no {min(missing)} at {block.name!r}: it was built for another space")
        return {name: _slice(shared[name], like.shape) for name, like in wanted.items()}


def _key(block: BlockSpec) -> str:
    return f"{block.name}-{block.kind}".replace(".", "_")


def _slice(tensor: Tensor, shape: torch.Size) -> Tensor:
    """First channels, centre of the kernel."""
    if tensor.shape == shape:
        return tensor
    if any(have < need for have, need in zip(tensor.shape, shape, strict=True)):
        raise SpaceError(
            f"the supernet's tensor of shape {tuple(tensor.shape)} is too small for {tuple(shape)}: it was built for another space"
        )
    index = [slice(0, size) for size in shape[:2]]
    for have, need in zip(tensor.shape[2:], shape[2:], strict=True):
        start = (have - need) // 2
        index.append(slice(start, start + need))
    return tensor[tuple(index)]


def _hull(blocks: Sequence[BlockSpec]) -> BlockSpec:
    """The block with the largest shapes of all; its stride and residual do not matter, it only holds weights."""

    def largest(field: str) -> int:
        return max(cast("int", getattr(block, field)) for block in blocks)

    in_chs, expand = largest("in_chs"), any(block.expand for block in blocks)
    return replace(
        blocks[0], in_chs=in_chs, out_chs=largest("out_chs"), kernel_size=largest("kernel_size"), se_chs=largest("se_chs"), expand=expand,
        mid_chs=largest("mid_chs"), groups=1, stride=1, residual=False,
    )  # fmt: skip
