"""Structured pruning: whole channels leave a trained network until it is predicted to be fast enough. The result is BlockSpecs again.

Channels that belong together leave together: those of an expansion, and those that a stage's blocks add up in their residuals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.architecture import BlockSpec
from nas.errors import InfeasibleError, InputError
from nas.hardware.predictor import LatencyPredictor
from nas.models.network import Network

__all__ = ["Groups", "Importance", "importance", "prune_to_latency", "remove_channels", "scale_to_latency"]

DIVISOR = 8
"""Channels leave in such numbers that what stays is a multiple: what vectors of fp32 and int8 kernels hold."""
LEAST_KEPT = 0.5
"""Of a group's channels: what the loss of a channel costs is estimated with all others in place, and is too little further away."""
SMALLEST_SCALE = 0.25
"""Of a uniform scaling: narrower networks are other networks."""

Scores = NDArray[np.float64]
Importance = Mapping[str, Scores]
"""By group: of each of its channels."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Which channels of a network are tied together.

    Attributes:
        ins, mids, outs: group of a block's channels, by block; a group that is not in `sizes` cannot be pruned.
        sizes: channels of each group that can be pruned.
    """

    ins: Mapping[str, str]
    mids: Mapping[str, str]
    outs: Mapping[str, str]
    sizes: Mapping[str, int]

    @classmethod
    def of(cls, blocks: Sequence[BlockSpec]) -> Groups:
        """Of blocks in the order of execution. Images, classes, and channels of grouped convolutions are kept."""
        ins, mids, outs, sizes, kept = {}, {}, {}, {}, {"images"}
        current = "images"
        for block in blocks:
            ins[block.name] = current
            if block.kind in ("conv", "mbconv") and not block.residual:
                current = f"{block.name}.out"
            elif block.kind == "linear":
                current = f"{block.name}.out"
                kept.add(current)
            outs[block.name] = current
            if block.kind == "mbconv":
                mids[block.name] = f"{block.name}.mid" if block.expand else ins[block.name]
                sizes[mids[block.name]] = block.mid_chs
            if block.groups > 1:
                kept |= {ins[block.name], outs[block.name], mids.get(block.name, current)}
            sizes[current] = block.out_chs
        free = {name: size for name, size in sizes.items() if name not in kept}
        return cls(MappingProxyType(ins), MappingProxyType(mids), MappingProxyType(outs), MappingProxyType(free))

    def resized(self, blocks: Sequence[BlockSpec], sizes: Mapping[str, int]) -> tuple[BlockSpec, ...]:
        """The blocks with other numbers of channels, by group."""

        def size(group: str, now: int) -> int:
            return sizes.get(group, now)

        return tuple(
            replace(
                block,
                in_chs=size(self.ins[block.name], block.in_chs),
                out_chs=size(self.outs[block.name], block.out_chs),
                mid_chs=size(self.mids[block.name], block.mid_chs) if block.kind == "mbconv" else block.mid_chs,
            )
            for block in blocks
        )


def importance(network: Network, batches: Iterable[tuple[Tensor, Tensor]]) -> Importance:
    """What it would cost to lose each channel: the first-order Taylor estimate at batch norm, (scale dL/dscale + shift dL/dshift)^2, mean
    over batches (Molchanov et al. 2019, arXiv:1906.10771, equation 8), times the channel's batch-norm scale over that of its layer (Liu et
    al. 2017, arXiv:1708.06519); summed over the layers that write the channel.

    Args:
        network: in eval mode; it is not changed.
        batches: normalised training images and labels.

    Raises:
        InputError: no images.
    """
    groups = Groups.of(network.blocks)
    layers = [pair for block, module in _pairs(network) for pair in _norms(block, module, groups)]
    sums = [torch.zeros(len(norm.weight)) for _, norm in layers]
    seen = 0
    for images, labels in batches:
        loss = F.cross_entropy(network(images), labels)
        parameters = [parameter for _, norm in layers for parameter in (norm.weight, norm.bias)]
        gradients = torch.autograd.grad(loss, parameters)
        for number, (_, norm) in enumerate(layers):
            scale, shift = gradients[2 * number], gradients[2 * number + 1]
            sums[number] += (norm.weight * scale + norm.bias * shift).detach() ** 2
        seen += 1
    if not seen:
        raise InputError("pruning needs training images to weigh channels with, and there are none")
    found = {name: np.zeros(size) for name, size in groups.sizes.items()}
    for (group, norm), total in zip(layers, sums, strict=True):
        if group in found:
            magnitude = norm.weight.detach().abs()
            found[group] += (total / seen * magnitude / magnitude.mean().clamp(min=1e-12)).double().numpy()
    return MappingProxyType(found)


def _pairs(network: Network) -> list[tuple[BlockSpec, nn.Module]]:
    return list(zip(network.blocks, network.body, strict=True))


def _norms(block: BlockSpec, module: nn.Module, groups: Groups) -> list[tuple[str, nn.BatchNorm2d]]:
    """Batch norms of a block with the group that each writes."""
    out = groups.outs[block.name]
    places = {"bn": out, "bn1": groups.mids.get(block.name, out), "bn2": groups.mids.get(block.name, out), "bn3": out}
    return [(places[name], layer) for name, layer in module.named_children() if isinstance(layer, nn.BatchNorm2d)]


def prune_to_latency(network: Network, scores: Importance, predictor: LatencyPredictor, share: float, threads: int = 1) -> Network:
    """Takes away channels until the predicted latency is `share` of what it was: each time those that cost least for the time they save.

    Args:
        network: in eval mode; it is not changed.
        scores: `importance` of its channels.
        share: of the predicted latency, 0..1.

    Returns:
        the smaller network; its batch norm wants `recalibrate`, and its weights some fine-tuning.

    Raises:
        InputError: a share that is not between 0 and 1.
        InfeasibleError: one group of channels after the other is as narrow as can be, and the network is not fast enough.
    """
    groups, budget_s = Groups.of(network.blocks), _budget_s(network, predictor, share, threads)
    order = {name: np.argsort(values, kind="stable") for name, values in scores.items()}
    lost = {name: np.concatenate([[0.0], np.cumsum(values[order[name]])]) for name, values in scores.items()}
    sizes = dict(groups.sizes)

    def latency_s(found: Mapping[str, int]) -> float:
        return predictor.predict(groups.resized(network.blocks, found), threads).value

    now_s = latency_s(sizes)
    for _ in range(sum(sizes.values())):  # each pass takes away at least one channel
        if now_s <= budget_s:
            break
        options = []
        for name, size in sizes.items():
            smaller = (size - 1) // DIVISOR * DIVISOR
            if smaller >= LEAST_KEPT * groups.sizes[name]:
                saved_s = now_s - latency_s({**sizes, name: smaller})
                whole = groups.sizes[name]
                cost = float(lost[name][whole - smaller] - lost[name][whole - size])
                if saved_s > 0:
                    options.append((cost / saved_s, name, smaller))
        if not options:
            raise _too_slow(now_s, budget_s)
        _, name, smaller = min(options)
        sizes[name] = smaller
        now_s = latency_s(sizes)
    return remove_channels(network, {name: np.sort(order[name][groups.sizes[name] - size :]) for name, size in sizes.items()})


def scale_to_latency(network: Network, scores: Importance, predictor: LatencyPredictor, share: float, threads: int = 1) -> Network:
    """The plain way to the same latency: every group keeps the same share of its channels, the most important ones.

    Raises:
        InputError, InfeasibleError: as `prune_to_latency`.
    """
    groups, budget_s = Groups.of(network.blocks), _budget_s(network, predictor, share, threads)
    now_s = 0.0
    for scale in np.arange(0.99, SMALLEST_SCALE, -0.01):
        sizes = {
            name: max(DIVISOR, round(size * scale / DIVISOR) * DIVISOR) if size > DIVISOR else size for name, size in groups.sizes.items()
        }
        now_s = predictor.predict(groups.resized(network.blocks, sizes), threads).value
        if now_s <= budget_s:
            kept = {name: np.sort(np.argsort(scores[name], kind="stable")[groups.sizes[name] - min(size, groups.sizes[name]) :])
                    for name, size in sizes.items()}  # fmt: skip
            return remove_channels(network, kept)
    raise _too_slow(now_s, budget_s)


def _budget_s(network: Network, predictor: LatencyPredictor, share: float, threads: int) -> float:
    if not 0 < share < 1:
        raise InputError(f"a network is pruned to a share of its latency between 0 and 1, got {share:g}")
    return share * predictor.predict(network.blocks, threads).value


def _too_slow(reached_s: float, budget_s: float) -> InfeasibleError:
    return InfeasibleError(
        f"pruning reaches {reached_s * 1e3:.3g} ms and no less, {budget_s * 1e3:.3g} ms were asked for: choose a smaller candidate", 1,
        {"latency_s": reached_s},
    )  # fmt: skip


def remove_channels(network: Network, kept: Mapping[str, NDArray[np.int64]]) -> Network:
    """The network of the kept channels, weights copied, in eval mode.

    Args:
        kept: by group, which channels stay, ascending; groups that are not named stay whole.
    """
    groups = Groups.of(network.blocks)
    blocks = groups.resized(network.blocks, {name: len(rows) for name, rows in kept.items()})
    with torch.random.fork_rng(devices=[]):
        made = Network(blocks)
    take = _Taker(kept)
    with torch.no_grad():
        for (block, old), new in zip(_pairs(network), made.body, strict=True):
            ins, out = groups.ins[block.name], groups.outs[block.name]
            mid = groups.mids.get(block.name, "")
            state = new.state_dict()
            for name, tensor in old.state_dict().items():
                state[name].copy_(take.part(name, tensor, block, ins, mid, out))
    return made.eval()


class _Taker:
    """Slices of a block's tensors for the channels that are kept."""

    def __init__(self, kept: Mapping[str, NDArray[np.int64]]) -> None:
        self._kept = {name: torch.from_numpy(np.ascontiguousarray(rows)) for name, rows in kept.items()}

    def part(self, name: str, tensor: Tensor, block: BlockSpec, ins: str, mid: str, out: str) -> Tensor:
        layer = name.rsplit(".", 1)[0]
        rows: Callable[[str], Tensor | None] = self._kept.get
        wanted = {
            "conv": (out, ins), "bn": (out, ""), "linear": (out, ins), "conv_pw": (mid, ins), "bn1": (mid, ""), "conv_dw": (mid, ""),
            "bn2": (mid, ""), "conv_pwl": (out, mid), "bn3": (out, ""), "se.conv_reduce": ("", mid), "se.conv_expand": (mid, ""),
        }  # fmt: skip
        if layer not in wanted:
            raise InputError(f"block {block.name}: cannot be pruned, {name} is unknown")
        for axis, group in enumerate(wanted[layer]):
            chosen = rows(group)
            if chosen is not None and tensor.dim() > axis:
                tensor = tensor.index_select(axis, chosen)
        return tensor
