"""A network on its own: its blocks one after another."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from nas.architecture import BlockSpec
from nas.errors import TrainingError
from nas.models.blocks import build_block

__all__ = ["Network", "recalibrate"]


class Network(nn.Module):
    """Images (batch, in_chs, size, size) to logits (batch, num_classes).

    Args:
        blocks: from `SearchSpace.decode`; their names, dots as underscores, are the names of the modules.
    """

    def __init__(self, blocks: Sequence[BlockSpec]) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.body = nn.Sequential(OrderedDict((block.name.replace(".", "_"), build_block(block)) for block in blocks))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out


@torch.no_grad()
def recalibrate(network: Network, batches: Iterable[Tensor]) -> None:
    """Sets batch norm's running statistics to exact cumulative averages over `batches` and leaves the network in eval mode.

    Weights from a supernet have seen the statistics of many networks; those of this one must be measured (Yu & Huang 2019,
    arXiv:1903.05134, section 3.3). A running average of momentum .1 over the same batches loses points.

    Raises:
        TrainingError: no batches, or statistics that are not finite.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    # Without gradients nobody reads what an activation overwrites: in place it is several times as fast.
    activations = [layer for layer in network.modules() if getattr(layer, "inplace", None) is False]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative average
    network.train()
    seen = 0
    try:
        for activation in activations:
            activation.inplace = True  # type: ignore[assignment]
        for batch in batches:
            network(batch)
            seen += 1
    finally:
        network.eval()
        for activation in activations:
            activation.inplace = False  # type: ignore[assignment]
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    if not seen:
        raise TrainingError("batch norm cannot be recalibrated without images")
    if not all(bool(torch.isfinite(layer.running_var).all()) for layer in layers if layer.running_var is not None):
        raise TrainingError("the network's activations are not finite: its weights have diverged (try a smaller learning rate)")
