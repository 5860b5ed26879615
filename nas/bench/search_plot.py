"""The picture of `nas bench search`: regret against evaluations on the first problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nas.report.canvas import BLUE, GREY, INK, ORANGE, figure_of, png

__all__ = ["picture"]

COLOURS = {"front": BLUE, "front, none known": "#5d9bd3", "TPE multivariate": ORANGE, "NSGA-II": "#8a5fb0", "random": GREY, "GP": INK}


def picture(curves: Mapping[str, Sequence[Sequence[float]]], title: str) -> bytes:
    """A PNG of the median regret, per cent, and the middle half of the seeds.

    Args:
        curves: by sampler, for each seed the regret after each evaluation.
    """
    figure, axes = figure_of(8.0, 4.5)
    for name, runs in curves.items():
        if name not in COLOURS:
            continue
        values = np.maximum(np.array(runs), 1e-2)
        at = np.arange(1, values.shape[1] + 1)
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
        axes.plot(at, middle, color=COLOURS[name], linewidth=2.0, label=name)
        axes.fill_between(at, low, high, color=COLOURS[name], alpha=0.15, linewidth=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(10, None)
    axes.set_ylim(0.1, 40)
    axes.set_xlabel("evaluations")
    axes.set_ylabel("hypervolume regret, %")
    axes.set_title(title, loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    return png(figure)
