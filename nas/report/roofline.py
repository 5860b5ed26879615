"""How well networks use a chip: the roofline plot of a front (Williams et al. 2009), and in words who wastes what."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nas.errors import InputError
from nas.hardware.ceiling import Ceiling, Peak, Peaks
from nas.report.canvas import Palette, figure_of, library, logarithmic, svg
from nas.report.front import FrontRecord
from nas.report.highlights import highlights
from nas.report.units import short, span
from nas.target import Target

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["by_target", "colors_of", "name_of", "roofline_svg", "roofline_words"]

MEMBER, FINALIST, PRUNED = "front", "finalist", "pruned finalist"
MARKERS: Mapping[str, str] = MappingProxyType({MEMBER: "o", FINALIST: "D", PRUNED: "s"})
"""Form of a mark, by the kind of its network."""
GIGA = 1e9
ENOUGH = 0.5
"""Share of a roof from which on little is wasted: half the peak is what the best kernels reach on convolutions of some tens of channels."""
OVERHEAD = "all that is not arithmetic; its overhead an operator is what small networks pay most"
CLOSE = 1.5
"""Roofs whose ratio is less are so close that their words would overlap: over some four decades in 4.4 inches."""
GUIDE = 0.1
"""Share of the roof that a dashed line shows."""


def by_target(record: FrontRecord, ceilings: Mapping[str, Ceiling]) -> dict[Target, dict[str, Ceiling]]:
    """Ceilings of a front by target, the target with the fewest threads first, then by candidate id."""
    found: dict[Target, dict[str, Ceiling]] = {}
    for each in record.shown:
        if each.id in ceilings:
            found.setdefault(each.candidate.target, {})[each.id] = ceilings[each.id]
    return {target: found[target] for target in _in_order(found)}


def _in_order(targets: Iterable[Target]) -> list[Target]:
    return sorted(targets, key=lambda each: (each.threads, each.precision, each.runtime))


def colors_of(record: FrontRecord, palette: Palette) -> dict[Target, str]:
    """A colour for each target of a device: the same in every picture."""
    targets = _in_order({each.candidate.target for each in record.candidates})
    return {target: palette.series[number % len(palette.series)] for number, target in enumerate(targets)}


def name_of(target: Target, among: Sequence[Target]) -> str:
    """A target by what tells it from the others of its device."""
    words = [f"{target.threads} thread{'s' if target.threads > 1 else ''}"]
    words += [target.precision] if len({each.precision for each in among}) > 1 or target.precision != "fp32" else []
    words += [target.runtime] if len({each.runtime for each in among}) > 1 else []
    return ", ".join(words)


# --- the picture ------------------------------------------------------------------------------------------------------------------


def roofline_svg(record: FrontRecord, ceilings: Mapping[str, Ceiling], palette: Palette) -> bytes:
    """Achieved multiply-adds a second over arithmetic intensity, beneath a roof a target, 7.6 x 4.4 inches.

    Args:
        ceilings: of members of the front and finalists, by candidate id.

    Raises:
        InputError: there is no ceiling.
    """
    found = by_target(record, ceilings)
    if not found:
        raise InputError(f"a roofline plot of {record.device} needs the peaks of a chip and at least one network")
    with library("matplotlib"):
        return svg(_roofline(record, found, palette))


def _roofline(record: FrontRecord, found: Mapping[Target, Mapping[str, Ceiling]], palette: Palette) -> Figure:
    figure, axes = figure_of(7.6, 4.4, palette)
    every = {id_: each for networks in found.values() for id_, each in networks.items()}
    values = every.values()
    intensities = [x for each in values for x in (each.macs_per_byte, each.peaks.ridge_macs_per_byte)]
    top, bottom = max(each.peaks.macs_per_s.value for each in values), min(each.macs_per_s for each in values)
    logarithmic(axes)
    axes.set(xlim=(min(intensities) / 5, 5 * max(intensities)), ylim=(bottom / 2.5 / GIGA, 2.5 * top / GIGA))
    kinds = {each.id: PRUNED if each.pruned else FINALIST for each in record.finalists if each.id in every}
    colors = colors_of(record, palette)
    _roofs(axes, found, colors, palette)
    for target, networks in found.items():
        for id_, each in networks.items():
            _network(axes, each, colors[target], palette, kinds.get(id_, MEMBER))
    _name_memory(axes, {each.peaks.bytes_per_s for each in values}, palette)
    if (best := highlights(record).get("knee")) is not None and best.id in every:
        at = every[best.id]
        axes.annotate(
            "knee", (at.macs_per_byte, at.macs_per_s / GIGA), xytext=(8, -8), textcoords="offset points", ha="left", va="top",
            fontsize=10, fontweight="bold", color=palette.ink, zorder=7,
        )  # fmt: skip
    axes.set_xlabel("arithmetic intensity, multiply-adds a byte read or written")
    axes.set_ylabel("achieved, 10⁹ multiply-adds/s")
    named = {name_of(target, tuple(found)): colors[target] for target in found} if len(found) > 1 else {}
    _legend(axes, {(kinds.get(id_, MEMBER), each.latency.source) for id_, each in every.items()}, named, palette)
    return figure


def _roofs(axes: Axes, found: Mapping[Target, Mapping[str, Ceiling]], colors: Mapping[Target, str], palette: Palette) -> None:
    """Targets with the same peaks are beneath one roof, which has the colour of none of them. Words of roofs that are close to each other
    stand above the upper one and beneath the lower one."""
    beneath: dict[Peaks, list[Target]] = {}
    for target, networks in found.items():
        beneath.setdefault(next(iter(networks.values())).peaks, []).append(target)
    ordered = sorted(beneath, key=lambda peaks: peaks.macs_per_s.value)
    for peaks, above in zip_longest(ordered, ordered[1:]):
        targets = beneath[peaks]
        name = "".join(f", {name_of(target, tuple(found))}" for target in targets) if len(beneath) > 1 else ""
        is_close = above is not None and above.macs_per_s.value < CLOSE * peaks.macs_per_s.value
        _roof(axes, peaks, name, colors[targets[0]] if len(targets) == 1 else palette.soft, palette, is_close=is_close)


def _roof(axes: Axes, peaks: Peaks, name: str, color: str, palette: Palette, *, is_close: bool) -> None:
    """Memory's peak, then that of the multipliers, and a share of both.

    Args:
        name: of its targets, added to its words.
        is_close: whether another roof is so close above that its words would run into these.
    """
    left, right = axes.get_xlim()
    top, ridge = peaks.macs_per_s.value / GIGA, peaks.ridge_macs_per_byte
    x = [left, ridge, right]
    roof = [top * min(1.0, each / ridge) for each in x]
    axes.plot(x, roof, color=color, linewidth=1.9, zorder=2)
    axes.plot(x, [GUIDE * each for each in roof], color=color, linewidth=0.9, linestyle=(0, (4, 4)), alpha=0.7, zorder=1)
    words = f"{short(peaks.macs_per_s.value)}MAC/s, {peaks.macs_per_s.source}{name}"
    axes.annotate(
        words, (right, top), xytext=(-4, -3 if is_close else 3), textcoords="offset points", ha="right", va="top" if is_close else "bottom",
        fontsize=9, color=palette.soft,
    )  # fmt: skip


def _name_memory(axes: Axes, peaks: Collection[Peak], palette: Palette) -> None:
    """Along memory's slope."""
    left, bottom = axes.get_xlim()[0], axes.get_ylim()[0]
    for peak in peaks:
        slope = peak.value / GIGA
        x = 1.4 * max(left, bottom / slope)
        axes.text(
            x, 1.12 * slope * x, f"{short(peak.value)}B/s, {peak.source}", fontsize=9, color=palette.soft, va="bottom",
            rotation=math.degrees(math.atan(slope)), rotation_mode="anchor", transform_rotates_text=True, clip_on=True,
        )  # fmt: skip


def _network(axes: Axes, each: Ceiling, color: str, palette: Palette, kind: str) -> None:
    axes.plot([each.macs_per_byte], [each.macs_per_s / GIGA], zorder=5, **_look(each.latency.source, color, palette, kind))


def _look(source: str, color: str, palette: Palette, kind: str) -> dict[str, Any]:
    """Of a network's mark: its kind is its form, a latency that was not measured is hollow."""
    filled = source == "measured"
    return {
        "linestyle": "none", "marker": MARKERS[kind], "markersize": 7, "markerfacecolor": color if filled else palette.paper,
        "markeredgecolor": palette.paper if filled else color, "markeredgewidth": 0.8 if filled else 1.5,
    }  # fmt: skip


def _legend(axes: Axes, kinds: Collection[tuple[str, str]], named: Mapping[str, str], palette: Palette) -> None:
    """What the marks and colours mean: those that are there.

    Args:
        kinds: (kind of a network, source of its latency).
        named: colours of targets by name.
    """
    for name, color in named.items():
        axes.plot([], [], linestyle="none", marker="s", markersize=7, markerfacecolor=color, markeredgecolor="none", label=name)
    for kind, source in sorted(kinds, key=lambda each: (list(MARKERS).index(each[0]), each[1])):
        axes.plot([], [], label=f"{kind}, {source} latency", **_look(source, palette.soft, palette, kind))
    axes.plot([], [], color=palette.soft, linewidth=0.9, linestyle=(0, (4, 4)), label=f"{100 * GUIDE:.0f} % of the roof")
    axes.legend(loc="best", labelcolor=palette.ink, frameon=True, framealpha=0.9, edgecolor="none", facecolor=palette.paper, fontsize=9)


# --- in words ---------------------------------------------------------------------------------------------------------------------


def roofline_words(record: FrontRecord, ceilings: Mapping[str, Ceiling], *, is_known: bool) -> Iterator[tuple[str, str]]:
    """(subject, sentences) pairs: the peaks of each target, what its networks reach, and who wastes what.

    Args:
        is_known: whether the predicted latencies come from a model that measurements were fitted to.
    """
    found = by_target(record, ceilings)
    for target, networks in found.items():
        every, peaks = tuple(networks.values()), next(iter(networks.values())).peaks
        name = name_of(target, tuple(found))
        told = (f"{short(peak.value)}{unit} ({peak.source}: {peak.origin})" for peak, unit in _units(peaks))
        note = "; the multiply-adds are those of fp32, int8 instructions may do more" if target.precision == "int8" else ""
        yield f"Peaks, {name}", f"{' and '.join(told)}{note}."
        yield f"Reached, {name}", " ".join((_reached(every), _waste(every), _caveat(every, is_known=is_known))).strip()


def _units(peaks: Peaks) -> tuple[tuple[Peak, str], tuple[Peak, str]]:
    return (peaks.macs_per_s, "MAC/s"), (peaks.bytes_per_s, "B/s")


def _reached(networks: Sequence[Ceiling]) -> str:
    """Ranges of what was achieved, and their shares of the peaks."""
    parts = []
    for (peak, unit), values in zip(
        _units(networks[0].peaks), ([each.macs_per_s for each in networks], [each.bytes_per_s for each in networks]), strict=True
    ):
        low, high = min(values), max(values)
        parts.append(f"{span(low, high, unit)} ({span(100 * low / peak.value, 100 * high / peak.value, '%')} of the peak)")
    count = f"{len(networks)} networks reach" if len(networks) > 1 else "The network reaches"
    return f"{count} {' and '.join(parts)}."


def _waste(networks: Sequence[Ceiling]) -> str:
    """The share of the chip that the networks leave out, and that which the runtime does: the two multiply to the share of the peak."""
    model, runtime = median(each.model_share for each in networks), median(each.runtime_share for each in networks)
    intensity = [each.macs_per_byte for each in networks]
    allowed = (
        f"At {span(min(intensity), max(intensity), 'multiply-adds a byte')} their arithmetic intensity allows {100 * model:.0f} % "
        f"of the multiply-add peak (median)"
    )
    if runtime > 1:
        return f"{allowed}. They rise above memory's roof: what they read and write stays in caches."
    reached = f"{allowed}, and {100 * runtime:.0f} % of that is reached"
    if min(model, runtime) >= ENOUGH:
        return f"{reached}: neither the networks nor the runtime waste much."
    if max(model, runtime) < ENOUGH:
        return f"{reached}: both waste it, the networks with too few multiply-adds a byte for it, the runtime with {OVERHEAD}."
    if runtime < model:
        return f"{reached}: it is the runtime that wastes the chip, with {OVERHEAD}."
    return f"{reached}: it is the networks that waste the chip, with too few multiply-adds a byte for it."


def _caveat(networks: Sequence[Ceiling], *, is_known: bool) -> str:
    """Where latency was not measured, what the finding is worth."""
    predicted = sum(each.latency.source != "measured" for each in networks)
    if not predicted:
        return ""
    which = "latency is predicted" if predicted == len(networks) else f"the latency of {predicted} of them is predicted"
    if is_known:
        return f"This is of a prediction: {which}, by a model of measured networks."
    return f"This is of a prediction: {which}, and by chip facts alone, so what the runtime reaches is our assumption and no finding."
