"""The picture of `nas bench cifar10`: both fronts on the test images, one line a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nas.bench.contest_fronts import Point, front
from nas.report.canvas import BLUE, GREY, ORANGE, figure_of, png

__all__ = ["picture"]

LINES = ("-", "--", ":")

Fronts = Mapping[int, Sequence[Point]]
"""Points by seed."""


def picture(ours: Fronts, theirs: Fronts, beside: Mapping[str, Sequence[Point]], device: str, minutes: float) -> bytes:
    """A PNG: test accuracy and predicted latency of each front's members, with what one would take at each latency as a line, and the
    baseline's other trials as faint dots.

    Args:
        ours, theirs: of the search and of the baseline.
        beside: points of runs that are not the baseline, by what they are.
    """
    figure, axes = figure_of(7.5, 5.0)
    for points in theirs.values():
        others = [point for point in points if point not in front(points)]
        axes.scatter([1e3 * each.latency_s for each in others], [100 * each.test for each in others], s=10, color=GREY, linewidths=0)
    for name, runs, colour in (("nas search", ours, BLUE), ("NSGA-II, each trial from scratch", theirs, ORANGE)):
        for (seed, points), line in zip(runs.items(), LINES, strict=False):
            members = front(points)
            x, y = [1e3 * each.latency_s for each in members], [100 * each.test for each in members]
            axes.plot(
                x, y, line, drawstyle="steps-post", marker="o", color=colour, markersize=5, linewidth=1.6, label=f"{name}, seed {seed}"
            )
    for name, points in beside.items():
        members = front(points)
        x, y = [1e3 * each.latency_s for each in members], [100 * each.test for each in members]
        axes.plot(x, y, "-.", drawstyle="steps-post", marker="x", color=GREY, markersize=5, linewidth=1.2, label=name)
    axes.set_xlabel(f"predicted latency on {device}, ms")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(f"{minutes:.0f} minutes on the same cores, front by search-validation", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    return png(figure)
