"""The picture of `nas bench fidelity`: what the supernet says of a network against what its own training does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nas.bench.ranking import thirds
from nas.report.canvas import BLUE, GREY, ORANGE, figure_of, png

__all__ = ["picture"]

Array = NDArray[np.float64]
THIRDS = (("fewest", GREY), ("middle", BLUE), ("most", ORANGE))


def picture(supernet: Array, alone: Array, macs: Array, tau: float) -> bytes:
    """A PNG.

    Args:
        supernet, alone: accuracies, 0..1, (n,).
        macs: by whose thirds the networks are coloured, (n,).
    """
    figure, axes = figure_of(6.5, 5.0)
    x, y = 100 * supernet, 100 * alone
    for (name, colour), rows in zip(THIRDS, thirds(macs), strict=True):
        label = f"{name} MACs: {macs[rows].min() / 1e6:.1f} to {macs[rows].max() / 1e6:.1f} M"
        axes.scatter(x[rows], y[rows], s=36, color=colour, label=label, linewidths=0)
    axes.set_xlabel("accuracy with the supernet's weights, search-validation, %")
    axes.set_ylabel("accuracy trained alone, test, %")
    axes.set_title(f"{len(x)} networks, Kendall's tau {tau:.2f}", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    return png(figure)
