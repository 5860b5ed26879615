"""Pictures by matplotlib, no display needed: the front, and the hypervolume over the search.

The search accuracy of the front and the test accuracy of its finalists are never one line: they were taken on different images of
differently trained networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import InputError
from nas.metrics import Metric
from nas.report.canvas import LIGHT, Palette, figure_of, library, png, svg
from nas.report.front import DOMINATED, OUTSIDE, CandidateRecord, FrontRecord
from nas.report.highlights import ACCURACY, cost_of, highlights
from nas.report.units import SHOWN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Progress", "accuracy_limits", "front_png", "front_svg", "hypervolume_png", "hypervolume_svg"]

Progress = Sequence[tuple[int, float]]
"""(trial, hypervolume) pairs."""


def front_png(record: FrontRecord) -> bytes:
    """The front as a picture for a README or a report, 1440 x 900 pixels.

    Raises:
        InputError: the front has no cost or no accuracy.
    """
    with library("matplotlib"):
        return png(_front(record, LIGHT, 9.0, 5.625, titled=True))


def front_svg(record: FrontRecord, palette: Palette) -> bytes:
    """The front for a page that has a heading of its own, 7.6 x 4.4 inches.

    Raises:
        InputError: as `front_png`.
    """
    with library("matplotlib"):
        return svg(_front(record, palette, 7.6, 4.4, titled=False))


def hypervolume_png(progress: Mapping[str, Progress]) -> bytes:
    """The hypervolume of each device's front over its trials, 1440 x 576 pixels: is the search still finding something?

    Raises:
        InputError: there is not one trial.
    """
    with library("matplotlib"):
        return png(_hypervolume(progress, LIGHT, 9.0, 3.6, titled=True))


def hypervolume_svg(progress: Mapping[str, Progress], palette: Palette) -> bytes:
    """`hypervolume_png` for a page, 7.6 x 2.6 inches."""
    with library("matplotlib"):
        return svg(_hypervolume(progress, palette, 7.6, 2.6, titled=False))


def _hypervolume(progress: Mapping[str, Progress], palette: Palette, width: float, height: float, *, titled: bool) -> Figure:
    known = {device: sorted(pairs) for device, pairs in progress.items() if pairs}
    if not known:
        raise InputError("a picture of the hypervolume needs at least one trial")
    figure, axes = figure_of(width, height, palette)
    alone = len(known) == 1
    for number, (device, pairs) in enumerate(known.items()):
        color = palette.series[number % len(palette.series)]
        # Reference points differ between devices: what can be compared is how soon each came near to its end.
        scale = 1.0 if alone else 100 / (pairs[-1][1] or 1.0)
        trials, volumes = [trial for trial, _ in pairs], [scale * volume for _, volume in pairs]
        axes.plot(trials, volumes, drawstyle="steps-post", color=color, linewidth=1.9, label=device)
        if alone:
            axes.fill_between(trials, volumes, step="post", color=color, alpha=0.12, linewidth=0)
    axes.set_xlabel("trials")
    axes.set_ylabel("hypervolume" if alone else "hypervolume, % of the last")
    if titled:
        title = "Hypervolume of the front over the search"
        axes.set_title(title, loc="left", fontsize=13, fontweight="bold", pad=10, color=palette.ink)
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    if not alone:
        _legend(axes, palette)
    return figure


def _front(record: FrontRecord, palette: Palette, width: float, height: float, *, titled: bool) -> Figure:
    cost = cost_of(record)
    figure, axes = figure_of(width, height, palette)
    known = [each for each in record.candidates if cost in each.candidate.metrics and ACCURACY in each.candidate.metrics]
    members = list(record.front)
    tested = [each for each in record.candidates if {cost, "accuracy_test"} <= each.candidate.metrics.keys()]
    for reason, marker in ((DOMINATED, "o"), (OUTSIDE, "v")):
        others = [each for each in known if each.why_not == reason]
        if others:
            axes.plot(
                *_points(others, cost, ACCURACY), marker, color=palette.faint, markersize=4.2, alpha=0.4, markeredgewidth=0, zorder=1,
                label=reason,
            )  # fmt: skip
    if members:
        _members(axes, members, cost, palette, line=len(record.objectives) == 2)
    if tested:
        x, y = _points(tested, cost, "accuracy_test")
        bars = [_reach(each.candidate.metrics["accuracy_test"], "accuracy_test") for each in tested]
        axes.errorbar(x, y, yerr=_sides(bars), fmt="none", ecolor=palette.second, elinewidth=1.0, alpha=0.5, zorder=3)
        for pruned, label in ((False, "finalists trained: accuracy on test images"), (True, "finalists pruned: accuracy on test images")):
            which = [at for at, each in enumerate(tested) if each.pruned == pruned]
            if which:
                axes.scatter(
                    [x[at] for at in which], [y[at] for at in which], s=44, marker="D", zorder=6, label=label,
                    facecolors=palette.paper if pruned else palette.second, edgecolors=palette.second if pruned else palette.paper,
                    linewidths=1.5 if pruned else 0.8,
                )  # fmt: skip
    if (best := highlights(record).get("knee")) is not None:
        _mark_knee(axes, best, cost, palette)
    axes.set_xlabel(SHOWN[cost].axis)
    axes.set_ylabel("accuracy, %")
    if titled:
        _title(axes, record, cost, palette)
    _frame(axes, record, cost)
    if known:
        _legend(axes, palette)
    return figure


def _members(axes: Axes, members: Sequence[CandidateRecord], cost: str, palette: Palette, *, line: bool) -> None:
    """The front with its error bars; members whose gain may be chance are hollow."""
    x, y = _points(members, cost, ACCURACY)
    if line:
        axes.plot(x, y, drawstyle="steps-post", color=palette.main, linewidth=1.8, zorder=3)
    found = [each.candidate.metrics for each in members]
    bands = {key: _sides([_reach(each[of], of) for each in found]) for key, of in (("xerr", cost), ("yerr", ACCURACY))}
    axes.errorbar(x, y, **bands, fmt="none", ecolor=palette.main, elinewidth=0.9, alpha=0.3, zorder=2)  # type: ignore[arg-type]
    for tied, label in ((False, f"front, {SHOWN[ACCURACY].label}"), (True, "on the front, its gain may be chance")):
        which = [at for at, each in enumerate(members) if each.tied == tied]
        if which:
            axes.scatter(
                [x[at] for at in which], [y[at] for at in which], s=46, facecolors=palette.paper if tied else palette.main,
                edgecolors=palette.main if tied else palette.paper, linewidths=1.5 if tied else 0.8, zorder=5, label=label,
            )  # fmt: skip


def _mark_knee(axes: Axes, member: CandidateRecord, cost: str, palette: Palette) -> None:
    """At its search accuracy; a pruned one has none and is where it is drawn, at its test accuracy."""
    accuracy, color = (ACCURACY, palette.main) if ACCURACY in member.candidate.metrics else ("accuracy_test", palette.second)
    if accuracy not in member.candidate.metrics:
        return
    (x,), (y,) = _points([member], cost, accuracy)
    axes.scatter([x], [y], s=190, facecolors="none", edgecolors=color, linewidths=1.3, zorder=4)
    axes.annotate(
        # Below a pruned one, to its right, is what it was pruned from.
        "knee", (x, y), xytext=(8, 8 if member.pruned else -8), textcoords="offset points", ha="left",
        va="bottom" if member.pruned else "top", fontsize=10, fontweight="bold", color=color, zorder=7,
    )  # fmt: skip


def _points(records: Sequence[CandidateRecord], cost: str, accuracy: str) -> tuple[list[float], list[float]]:
    """x and y, in the units that are shown."""
    found = [each.candidate.metrics for each in records]
    return [SHOWN[cost].number(each[cost].value) for each in found], [SHOWN[accuracy].number(each[accuracy].value) for each in found]


def _reach(metric: Metric, name: str) -> tuple[float, float]:
    """How far the error bar goes down and up from the value, in the unit that is shown: the band, else one standard error."""
    if metric.low is not None and metric.high is not None:
        return SHOWN[name].number(metric.value - metric.low), SHOWN[name].number(metric.high - metric.value)
    return (SHOWN[name].number(metric.std or 0.0),) * 2


def _sides(bars: Sequence[tuple[float, float]]) -> list[list[float]]:
    """(down, up) pairs as matplotlib takes them: (2, n)."""
    return [[down for down, _ in bars], [up for _, up in bars]]


def accuracy_limits(record: FrontRecord) -> tuple[float, float]:
    """Ends of the accuracy axis, per cent: candidates far off the front would press it into a corner."""
    shown_ones = (*record.front, *(each for each in record.finalists if each.pruned))
    metrics = [each.candidate.metrics.get(name) for each in shown_ones for name in (ACCURACY, "accuracy_test")]
    shown = [metric for metric in metrics if metric is not None]
    known = [value for each in record.candidates if (value := each.value(ACCURACY)) is not None] + [metric.value for metric in shown]
    low = min((metric.value - (metric.std or 0.0) for metric in shown), default=min(known, default=0.0))
    high = max((metric.value + _reach(metric, ACCURACY)[1] / 100 for metric in shown), default=max(known, default=1.0))
    span = max(high - low, 0.01)
    return 100 * max(min([low, *known]) - 0.05 * span, low - 0.6 * span), min(100 * (high + 0.08 * span), 100.4)


def _frame(axes: Axes, record: FrontRecord, cost: str) -> None:
    """Frames the front, and says how many candidates are outside."""
    right = min(axes.get_xlim()[1], 1.5 * max((SHOWN[cost].number(each.value(cost) or 0.0) for each in record.front), default=float("inf")))
    bottom, top = accuracy_limits(record)
    axes.set_xlim(0, right)
    axes.set_ylim(bottom, top)
    numbers = [(each.value(cost), each.value(ACCURACY)) for each in record.candidates]
    outside = sum(SHOWN[cost].number(x) > right or 100 * y < bottom for x, y in numbers if x is not None and y is not None)
    if outside:
        axes.set_xlabel(f"{SHOWN[cost].axis}   ({outside} more outside the frame)")


def _title(axes: Axes, record: FrontRecord, cost: str, palette: Palette) -> None:
    """Title and two lines below it; long names are cut, so that they do not press the picture together."""
    sources = sorted({each.candidate.metrics[cost].source for each in record.candidates if cost in each.candidate.metrics})
    bars = (
        f"{SHOWN[cost].label} {' and '.join(sources) or 'unknown'}; bars: one standard error of accuracy, 90 % band of {SHOWN[cost].label}"
    )
    bars += f"; {record.held} drawn" if record.held else ""
    title = f"{Path(record.data).name} on {record.device}: accuracy against {SHOWN[cost].label}"
    axes.set_title(_cut(title, 80), loc="left", fontsize=13, fontweight="bold", pad=42, color=palette.ink, parse_math=False)
    lines = "\n".join((_cut(f"{record.study}, {record.space}: {record.found}", 105), bars))
    words = axes.text(
        0, 1.03, lines, transform=axes.transAxes, fontsize=9.5, color=palette.soft, va="bottom", linespacing=1.4, parse_math=False
    )  # fmt: skip
    words.set_in_layout(False)


def _cut(words: str, most: int) -> str:
    return words if len(words) <= most else f"{words[: most - 1]}…"


def _legend(axes: Axes, palette: Palette) -> None:
    look: dict[str, Any] = {"frameon": True, "framealpha": 0.9, "edgecolor": "none", "facecolor": palette.paper, "fontsize": 9.5}
    axes.legend(loc="lower right", labelcolor=palette.ink, **look)
