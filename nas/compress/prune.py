"""Structured pruning: whole channels leave a trained network until it is predicted to be fast enough. The result is BlockSpecs again.

Channels that belong together leave together (`nas.channels.Groups`); a residual block that loses its whole expansion leaves too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.architecture import BlockSpec
from nas.channels import Groups
from nas.errors import InfeasibleError, InputError
from nas.models.network import Network, recalibrate

__all__ = ["Images", "Importance", "LatencyOf", "importance", "prune_to_latency", "remove_channels", "scale_to_latency"]

DIVISOR = 8
"""Channels leave in such numbers that what stays is a multiple: what vectors of fp32 and int8 kernels hold."""
LEAST_KEPT = 0.5
"""Of a group's channels, unless all of them leave: a narrower layer is a bottleneck that nothing around it makes up for."""
ROUNDS = 4
"""In which channels leave: what the loss of one costs is estimated with all others in place, and is told anew when some are gone
(Molchanov et al. 2019, arXiv:1906.10771, section 4: iterative pruning)."""
SMALLEST_SCALE = 0.25
"""Of a uniform scaling: narrower networks are other networks."""

Scores = NDArray[np.float64]
Importance = Mapping[str, Scores]
"""By group: of each of its channels."""
LatencyOf = Callable[[Sequence[BlockSpec]], float]
"""Predicted seconds of a network."""
Images = Sequence[tuple[Tensor, Tensor]]
"""Batches of normalised training images (batch, chs, size, size) and their labels."""


def importance(network: Network, batches: Images) -> Importance:
    """What it would cost to lose each channel: the first-order Taylor estimate at batch norm, (scale dL/dscale + shift dL/dshift)^2, mean
    over batches (Molchanov et al. 2019, arXiv:1906.10771, equation 8), times the channel's batch-norm scale over that of its layer (Liu et
    al. 2017, arXiv:1708.06519).

    Where several layers write a channel, a residual sum, it is lost in all of them at once: their first-order terms are added before they
    are squared. Of an expansion the depthwise convolution's batch norm alone counts: the one before it feeds nothing else.

    Args:
        network: in eval mode; it is not changed.

    Raises:
        InputError: no images.
    """
    if not batches:
        raise InputError("pruning needs training images to weigh channels with, and there are none")
    groups = Groups.of(network.blocks)
    layers = [pair for block, module in _pairs(network) for pair in _writers(block, module, groups) if pair[0] in groups.sizes]
    sums = {name: torch.zeros(size) for name, size in groups.sizes.items()}
    parameters = [parameter for _, norm in layers for parameter in (norm.weight, norm.bias)]
    for images, labels in batches:
        gradients = torch.autograd.grad(F.cross_entropy(network(images), labels), parameters)
        terms = {name: torch.zeros(size) for name, size in groups.sizes.items()}
        for number, (group, norm) in enumerate(layers):
            terms[group] += (norm.weight * gradients[2 * number] + norm.bias * gradients[2 * number + 1]).detach()
        for group, term in terms.items():
            sums[group] += term**2 / len(batches)
    scales: dict[str, list[Tensor]] = {name: [] for name in groups.sizes}
    for group, norm in layers:
        magnitude = norm.weight.detach().abs()
        scales[group].append(magnitude / magnitude.mean().clamp(min=1e-12))
    return MappingProxyType({
        name: (total * torch.stack(scales[name]).mean(dim=0)).double().numpy() for name, total in sums.items() if scales[name]
    })  # fmt: skip


def _pairs(network: Network) -> list[tuple[BlockSpec, nn.Module]]:
    return list(zip(network.blocks, network.body, strict=True))


def _writers(block: BlockSpec, module: nn.Module, groups: Groups) -> list[tuple[str, nn.BatchNorm2d]]:
    """Batch norms of a block that write a group's channels last, with the group."""
    out = groups.outs[block.name]
    places = {"bn": out, "bn3": out} | ({"bn2": groups.mids[block.name]} if block.expand else {})
    return [(places[name], layer) for name, layer in module.named_children() if isinstance(layer, nn.BatchNorm2d) and name in places]


@dataclass(frozen=True, slots=True)
class _Aim:
    """How fast a network is to become.

    Attributes:
        whole_s: predicted latency as it is.
        share: of it that is to be left; InputError where it is not between 0 and 1.
    """

    whole_s: float
    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise InputError(f"a network is pruned to a share of its latency between 0 and 1, got {self.share:g}")

    def budget_s(self, step: int) -> float:
        """Latency after a round, 1 to `ROUNDS`, of equal shares."""
        return float(self.share ** (step / ROUNDS) * self.whole_s)

    def missed(self, reached_s: float) -> InfeasibleError:
        """What to raise where no channel that saves time can be taken any more, in whatever round."""
        least = math.ceil(100 * reached_s / self.whole_s)
        wanted = f"{100 * self.share:.3g} % of the latency were asked for, {1e3 * self.share * self.whole_s:.3g} ms"
        advice = f"ask for {least} % or more (nas search --prune {least}%)" if least < 100 else "leave it as it is"
        text = f"pruning reaches {1e3 * reached_s:.3g} of {1e3 * self.whole_s:.3g} ms and no less; {wanted}: {advice}"
        return InfeasibleError(text, 1, {"latency_s": reached_s})


def prune_to_latency(network: Network, batches: Images, latency_s: LatencyOf, share: float) -> Network:
    """Takes away channels until the predicted latency is `share` of what it was: each time those that cost least for the time they save.

    In rounds of equal shares; after each, batch norm is recalibrated and what is left is weighed anew.

    Args:
        network: in eval mode; it is not changed.
        batches: what channels are weighed with.
        share: of the predicted latency, 0..1.

    Returns:
        the smaller network in eval mode, batch norm recalibrated; its weights want some fine-tuning.

    Raises:
        InputError: a share that is not between 0 and 1, or no images.
        InfeasibleError: one group of channels after the other is as narrow as can be, and the network is not fast enough.
    """
    whole, aim = Groups.of(network.blocks).sizes, _Aim(latency_s(network.blocks), share)
    for step in range(1, ROUNDS + 1):
        scores, groups = importance(network, batches), Groups.of(network.blocks)
        order = {name: np.argsort(values, kind="stable") for name, values in scores.items()}
        sizes = _sizes(network.blocks, groups, scores, whole, latency_s, aim, step)
        kept = {name: np.sort(order[name][groups.sizes[name] - size :]) for name, size in sizes.items() if name in order}
        network = remove_channels(network, kept)
        recalibrate(network, [images for images, _ in batches])
    return network


def _sizes(
    blocks: Sequence[BlockSpec], groups: Groups, scores: Importance, whole: Mapping[str, int], latency_s: LatencyOf, aim: _Aim, step: int
) -> dict[str, int]:
    """Channels that each group keeps, by what its least important ones cost for the time they save; what is below the budget is none.

    Args:
        step: round, of whose budget the time is; 1 is the first.
    """
    budget_s = aim.budget_s(step)
    lost = {name: np.concatenate([[0.0], np.cumsum(np.sort(values))]) for name, values in scores.items()}
    sizes = dict(groups.sizes)
    now_s = latency_s(blocks)
    for _ in range(sum(sizes.values())):  # each pass takes away at least one channel
        if now_s <= budget_s:
            break
        options = []
        for name in lost:
            for smaller in _narrower(sizes[name], LEAST_KEPT * whole[name], is_branch=name in groups.branches):
                then_s = latency_s(groups.resized(blocks, {**sizes, name: smaller}))
                if then_s < now_s:
                    first = groups.sizes[name]
                    cost = float(lost[name][first - smaller] - lost[name][first - sizes[name]])
                    options.append((cost / (now_s - max(then_s, budget_s)), name, smaller, then_s))
        if not options:
            raise aim.missed(now_s)
        _, name, sizes[name], now_s = min(options)
    return sizes


def _narrower(size: int, least: float, *, is_branch: bool) -> list[int]:
    """Numbers of channels that a group of `size` may have next: the two next multiples, and none."""
    below = [(size - 1) // DIVISOR * DIVISOR, ((size - 1) // DIVISOR - 1) * DIVISOR] if size else []
    return [each for each in below if each >= max(least, 1)] + ([0] if is_branch and size else [])


def scale_to_latency(network: Network, batches: Images, latency_s: LatencyOf, share: float) -> Network:
    """The plain way to the same latency: every group keeps the same share of its channels, the most important ones.

    Raises:
        InputError, InfeasibleError: as `prune_to_latency`.
    """
    aim, now_s = _Aim(latency_s(network.blocks), share), 0.0
    scores, groups = importance(network, batches), Groups.of(network.blocks)
    for scale in np.arange(0.99, SMALLEST_SCALE, -0.01):
        sizes = {
            name: min(size, max(DIVISOR, round(size * scale / DIVISOR) * DIVISOR)) for name, size in groups.sizes.items() if name in scores
        }
        now_s = latency_s(groups.resized(network.blocks, sizes))
        if now_s <= aim.budget_s(ROUNDS):
            order = {name: np.argsort(values, kind="stable") for name, values in scores.items()}
            smaller = remove_channels(network, {name: np.sort(order[name][-size:]) for name, size in sizes.items()})
            recalibrate(smaller, [images for images, _ in batches])
            return smaller
    raise aim.missed(now_s)


def remove_channels(network: Network, kept: Mapping[str, NDArray[np.int64]]) -> Network:
    """The network of the kept channels, weights copied, in eval mode.

    Args:
        kept: by group, which channels stay, ascending; groups that are not named stay whole, residual blocks of which none stay leave.
    """
    groups = Groups.of(network.blocks)
    blocks = groups.resized(network.blocks, {name: len(rows) for name, rows in kept.items()})
    with torch.random.fork_rng(devices=[]):
        made = Network(blocks)
    take, places = _Taker(kept), {block.name: place for place, block in enumerate(network.blocks)}
    with torch.no_grad():
        for smaller, new in _pairs(made):
            block, old = _pairs(network)[places[smaller.name]]
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
