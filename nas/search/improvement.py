"""Expected hypervolume improvement when costs are known and one loss is uncertain: closed form in any number of objectives.

A point (loss a, costs c) adds the volume between itself and the reference point that no member of the front dominates. Cut along the
costs: over a cost vector u >= c the point adds max(L(u) - a, 0), where L(u) is the smallest loss of the members with costs <= u, or the
reference's. L is constant on the cells of the grid that the members' costs span, so

    E[gain] = sum over cells of |cell where u >= c| E[max(L(cell) - a, 0)],

and for a normal loss the expectation is sigma (z Phi(z) + phi(z)) with z = (L - mu) / sigma. It is what Emmerich et al. 2011
(doi:10.1109/CEC.2011.5949880) compute, with all objectives but one certain.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from nas.search import pareto

__all__ = ["Front", "shortfall"]

Array = NDArray[np.float64]

CELLS = 2048
"""Cells of the grid at most, over all costs: finer ones make no difference that a choice between candidates would see."""


def shortfall(levels: Array, mean: Array, std: Array) -> Array:
    """E[max(level - x, 0)] for x normal with `mean` and `std` (n,), at levels (m,): (n, m)."""
    z = (levels - mean[:, None]) / std[:, None]
    density = np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
    return np.asarray(std[:, None] * (z * ndtr(z) + density))


class Front:
    """What is attained, as the smallest loss for at most so much cost.

    Args:
        losses: of members, (n,); they need not be non-dominated.
        costs: of members, (n, k), k >= 0.
        reference: largest loss and costs that count, (1 + k,).
    """

    def __init__(self, losses: Array, costs: Array, reference: Array) -> None:
        self._top = reference[1:]
        k = costs.shape[1]
        inside = (losses < reference[0]) & (costs < self._top).all(axis=1)
        # A dominated member attains nothing, and would only cut the grid finer.
        inside[inside] = pareto.front(np.column_stack([losses, costs])[inside])
        losses, costs = losses[inside], costs[inside]
        most = int(CELLS ** (1.0 / k)) if k else 1
        self._edges = [_edges(costs[:, j], most) for j in range(k)]
        # A member counts from the first cell that lies wholly beyond its cost.
        places = tuple(1 + np.searchsorted(self._edges[j], costs[:, j]) for j in range(k))
        grid = np.full([len(edges) + 1 for edges in self._edges], reference[0])
        if k:
            np.minimum.at(grid, places, losses)
        else:
            grid = np.minimum(grid, losses.min(initial=np.inf))
        for axis in range(k):
            grid = np.minimum.accumulate(grid, axis=axis)
        self.levels, inverse = np.unique(grid, return_inverse=True)
        self._inverse = inverse.reshape(grid.shape)

    def gain(self, shortfalls: Array, costs: Array) -> Array:
        """Expected gain of candidates.

        Args:
            shortfalls: expected shortfall of each candidate below each of `levels`, (n, levels).
            costs: (n, k).

        Returns:
            (n,), in the units of loss times costs.
        """
        if not self._edges:
            return np.asarray(shortfalls[:, self._inverse])
        cells = shortfalls[:, self._inverse]
        for axis in reversed(range(len(self._edges))):
            low = np.concatenate([[-np.inf], self._edges[axis]])
            high = np.concatenate([self._edges[axis], [self._top[axis]]])
            widths = np.maximum(high - np.maximum(low, costs[:, axis : axis + 1]), 0.0)
            cells = np.einsum("n...i,ni->n...", cells, widths)
        return np.asarray(cells)


def _edges(costs: Array, most: int) -> Array:
    """Where the grid is cut: at each member's cost, or at quantiles of them where there are too many."""
    edges = np.unique(costs)
    if len(edges) < most:
        return edges
    # The last edge stays, so that every member counts somewhere.
    return np.asarray(edges[np.unique(np.linspace(0, len(edges) - 1, most - 1).round().astype(int))])
