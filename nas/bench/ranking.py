"""How alike two measures rank networks, over all of them and among networks of like cost, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["Groups", "Interval", "bootstrap", "kendall", "spearman", "thirds", "within"]

Array = NDArray[np.float64]
Groups = Sequence[NDArray[np.intp]]
"""Rows of networks that are compared with each other."""
LOW, HIGH = 0.05, 0.95
"""Ends of the 90 % interval."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the ends of its 90 % interval. By percentiles, so it need not hold the estimate where that is biased."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"an interval goes from low to high, got {self.low} to {self.high}")


def kendall(x: Array, y: Array) -> float:
    """Kendall's tau-b (Kendall 1945, doi:10.1093/biomet/33.3.239) of two measures, each (n,); 0 where one of them is constant."""
    return _statistic(stats.kendalltau, x, y)


def spearman(x: Array, y: Array) -> float:
    """Spearman's rho of two measures, each (n,), ties at their mean rank; 0 where one of them is constant."""
    return _statistic(stats.spearmanr, x, y)


def _statistic(function: Callable[..., Any], x: Array, y: Array) -> float:
    if x.shape != y.shape or x.ndim != 1 or not len(x):
        raise ValueError(f"two measures of the same networks, (n,) each, are compared, got {x.shape} and {y.shape}")
    if np.ptp(x) == 0 or np.ptp(y) == 0:  # scipy warns and gives nan
        return 0.0
    return float(function(x, y).statistic)


def thirds(values: Array) -> list[NDArray[np.intp]]:
    """Rows of the networks with the smallest, the middle and the largest values, as many in each or one more."""
    return np.array_split(np.argsort(values, kind="stable"), 3)


def within(statistic: Callable[[Array, Array], float], x: Array, y: Array, groups: Groups) -> float:
    """Mean over the groups of a statistic among their members; over one group of all rows it is the plain one."""
    return float(np.mean([statistic(x[rows], y[rows]) for rows in groups]))


def bootstrap(estimate: Callable[[Groups], float], groups: Groups, seed: int, resamples: int) -> Interval:
    """The estimate with its 90 % percentile interval (Efron & Tibshirani 1993, chapter 13).

    Networks are drawn with replacement, as many from each group as it has. A network that is drawn twice ties with itself in both
    measures: tau-b leaves such pairs out.
    """
    rng = np.random.default_rng(seed)
    drawn = [estimate([rng.choice(rows, len(rows)) for rows in groups]) for _ in range(resamples)]
    low, high = np.quantile(drawn, (LOW, HIGH))
    return Interval(estimate(groups), float(low), float(high))
