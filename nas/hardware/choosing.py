"""Which networks to measure: those that tell most about the predictor's coefficients, over the whole range of latencies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nas.errors import InputError

__all__ = ["choose"]

_BINS = 8
_SPREAD_EVERY = 3  # every third pick goes where the latencies have fewest


def choose(features: NDArray[np.float64], k: int, latency_s: NDArray[np.float64] | None = None) -> NDArray[np.intp]:
    """Indices of the k networks that tell most about the coefficients, smallest and largest first.

    Greedy D-optimal design: each pick has the largest x' A^-1 x, with A the information so far (Fedorov 1972, Theory of Optimal
    Experiments); columns scaled to their largest value. The picks of a smaller k are the first ones of a larger k.

    Args:
        features: (n, n_features) of the networks to choose from.
        k: how many, 2 to n.
        latency_s: (n,), expected latency: it then says which are the smallest and the largest, and every third pick is from the eighth
            of its logarithmic range with the fewest picks.

    Returns:
        (k,), distinct.
    """
    n = len(features)
    if not 2 <= k <= n:
        raise InputError(f"choose 2 to {n} of {n} networks, got {k}")
    largest = np.abs(features).max(axis=0)
    scaled = features / np.where(largest > 0, largest, 1.0)
    size = scaled.sum(axis=1) if latency_s is None else latency_s
    ends = (-size, size)
    bins = _bins(latency_s) if latency_s is not None else np.zeros(n, dtype=np.intp)
    inverse = np.eye(features.shape[1]) * 1e3  # a weak prior, so that the first picks are defined
    free = np.ones(n, dtype=bool)
    chosen: list[int] = []
    while len(chosen) < k:
        scores = ends[len(chosen)] if len(chosen) < len(ends) else np.einsum("ij,jk,ik->i", scaled, inverse, scaled)
        allowed = free
        if len(chosen) >= len(ends) and len(chosen) % _SPREAD_EVERY == 0:
            counts = np.bincount(bins[chosen], minlength=_BINS)
            allowed = free & (bins == min(np.unique(bins[free]), key=lambda number: (counts[number], number)))
        pick = int(np.argmax(np.where(allowed, scores, -np.inf)))
        chosen.append(pick)
        free[pick] = False
        # Sherman-Morrison update of the inverse.
        moved = inverse @ scaled[pick]
        inverse -= np.outer(moved, moved) / (1.0 + scaled[pick] @ moved)
    return np.array(chosen, dtype=np.intp)


def _bins(latency_s: NDArray[np.float64]) -> NDArray[np.intp]:
    """Which eighth of the logarithmic range each one is in, (n,)."""
    logs = np.log(latency_s)
    span = float(logs.max() - logs.min()) or 1.0
    bins: NDArray[np.intp] = np.minimum(_BINS * (logs - logs.min()) / span, _BINS - 1).astype(np.intp)
    return bins
