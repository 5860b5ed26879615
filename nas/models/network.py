"""A network on its own: its blocks one after another."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from nas.architecture import BlockSpec
from nas.errors import TrainingError
from nas.models.blocks import activate_in_place, build_block
from nas.models.lanes import each_on_a_thread, threads_for

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


def recalibrate(network: Network, batches: Iterable[Tensor]) -> None:
    """Sets batch norm's running statistics to the means of those of `batches` and leaves the network in eval mode.

    Weights from a supernet have seen the statistics of many networks; those of this one must be measured (Yu & Huang 2019,
    arXiv:1903.05134, section 3.3). A running average of momentum .1 over the same batches loses points.

    Raises:
        TrainingError: no batches, or statistics that are not finite.
    """
    network.eval()
    found = each_on_a_thread(lambda: _statistics_of(network), batches, threads_for(network))
    if not found:
        raise TrainingError("batch norm cannot be recalibrated without images")
    with torch.no_grad():
        for number, layer in enumerate(_norms(network)):
            for running, seen in zip(_running(layer), zip(*(batch[number] for batch in found), strict=True), strict=True):
                running.copy_(torch.stack(seen).mean(dim=0))
                if not bool(torch.isfinite(running).all()):
                    raise TrainingError("the network's activations are not finite: its weights have diverged (try a smaller learning rate)")


def _statistics_of(network: Network) -> Callable[[Tensor], list[tuple[Tensor, ...]]]:
    """Gives for a batch the means and variances of each batch-norm layer, from a copy that has the same weights."""
    copied = copy.deepcopy(network, {id(weight): weight for weight in network.parameters()})
    norms = _norms(copied)
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = 1.0  # running statistics are those of the last batch
    activate_in_place(copied)
    copied.train()

    def measure(batch: Tensor) -> list[tuple[Tensor, ...]]:
        copied(batch)
        return [tuple(running.clone() for running in _running(layer)) for layer in norms]

    return measure


def _norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]


def _running(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Mean and variance."""
    if norm.running_mean is None or norm.running_var is None:
        raise TypeError("a batch norm of ours keeps running statistics")
    return norm.running_mean, norm.running_var
