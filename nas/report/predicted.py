"""Picture of a latency predictor: predicted against measured."""

from __future__ import annotations

import numpy as np

from nas.errors import InputError
from nas.hardware.evaluation import Evaluation
from nas.report.canvas import BLUE, GREY, ORANGE, figure_of, library, logarithmic, png

__all__ = ["predicted_png"]


def predicted_png(evaluation: Evaluation, title: str) -> bytes:
    """Predicted against measured latency, milliseconds, both axes logarithmic, with 90 % bands, 960 x 960 pixels.

    Networks whose band misses the measurement are orange; the grey strip is within 10 % of it.
    """
    if not len(evaluation.measured_s):
        raise InputError("a picture of a predictor needs at least one network")
    with library("matplotlib"):
        figure, axes = figure_of(6.0, 6.0)
        measured, predicted = 1e3 * evaluation.measured_s, 1e3 * evaluation.predicted_s
        bands = np.array([predicted - 1e3 * evaluation.low_s, 1e3 * evaluation.high_s - predicted])
        ends = np.array([0.9 * min(measured.min(), predicted.min()), 1.1 * max(measured.max(), predicted.max())])
        axes.fill_between(ends, 0.9 * ends, 1.1 * ends, color=GREY, alpha=0.25, linewidth=0, label="within ±10 %")
        axes.plot(ends, ends, color=GREY, linewidth=1.2)
        for inside, color, label in ((True, BLUE, "measured inside the band"), (False, ORANGE, "outside")):
            which = evaluation.covered == inside
            if which.any():
                axes.errorbar(
                    measured[which], predicted[which], yerr=bands[:, which], fmt="o", markersize=4.5, color=color, ecolor=color,
                    elinewidth=0.8, alpha=0.85, label=f"{label} ({int(which.sum())})",
                )  # fmt: skip
        logarithmic(axes)
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        axes.set_xlabel("measured, ms")
        axes.set_ylabel("predicted without having seen it, ms")
        axes.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=10)
        axes.legend(loc="upper left", frameon=False, fontsize=9.5)
        return png(figure)
