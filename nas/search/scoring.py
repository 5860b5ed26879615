"""What is known of an architecture before its accuracy: counts, predicted latency, modelled energy; and which constraints it meets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nas.architecture import Architecture
from nas.cost import count, count_rows
from nas.errors import InfeasibleError
from nas.hardware.energy import modelled_energy
from nas.hardware.predictor import BlockTable, LatencyPredictor
from nas.hardware.profile import Power
from nas.metrics import Constraint, Metric
from nas.space import SearchSpace
from nas.target import Target

__all__ = ["Feasible", "Scorer"]

Rows = NDArray[np.int16]
POOL = 20_000
"""Random architectures scored to learn what the space can do."""
SWEEPS = 4
"""Passes of coordinate descent over the genes when the smallest value of a metric is sought."""


@dataclass(frozen=True, slots=True)
class Feasible:
    """What a pool of architectures told.

    Attributes:
        rows: feasible ones, (n, genes).
        scored: how many were looked at.
        share: of the pool that is feasible.
        ranges: smallest and largest value of each metric over the pool and the extremes.
    """

    rows: Rows
    scored: int
    share: float
    ranges: Mapping[str, tuple[float, float]]


class Scorer:
    """Everything but accuracy, for one space on one target."""

    def __init__(self, space: SearchSpace, target: Target, predictor: LatencyPredictor, power: Power) -> None:
        self.space = space
        self.power = power
        self.target = target
        self.predictor = predictor

    def metrics(self, arch: Architecture) -> dict[str, Metric]:
        """Counted, predicted and modelled metrics of one architecture."""
        blocks = self.space.decode(arch)
        latency = self.predictor.predict(blocks, self.target.threads)
        return {
            **count(blocks, self.target.precision).metrics(),
            "latency_s": latency,
            "energy_j": modelled_energy(latency, self.power, self.target.threads),
        }

    @cached_property
    def _table(self) -> BlockTable:
        return self.predictor.fold(self.space.blocks)

    def values(self, rows: Rows) -> dict[str, NDArray[np.float64]]:
        """The values of `metrics` for many architectures: each of shape (n,)."""
        index = self.space.block_index(rows)
        found = count_rows(self.space.blocks, index, self.target.precision)
        latency = self._table.rows(index, self.target.threads)[0]
        return {**found, "latency_s": latency, "energy_j": self.power.at(self.target.threads) * latency}

    def meets(self, rows: Rows, constraints: Sequence[Constraint]) -> NDArray[np.bool_]:
        """Which rows meet every constraint on a metric that is known before accuracy."""
        if not constraints:
            return np.ones(len(rows), dtype=np.bool_)
        values = self.values(rows)
        mask = np.ones(len(rows), dtype=np.bool_)
        for constraint in constraints:
            if constraint.metric in values:
                found = values[constraint.metric]
                mask &= found <= constraint.bound if constraint.kind == "max" else found >= constraint.bound
        return mask

    def explore(self, constraints: Sequence[Constraint], seed: int) -> Feasible:
        """Scores a pool of random architectures and the extremes of each metric.

        Raises:
            InfeasibleError: nothing meets the constraints; says the tightest value that can be reached.
        """
        known = [c for c in constraints if c.kind == "max" and not c.metric.startswith("accuracy")]
        pool = self.space.sample_rows(POOL, seed)
        ends = self.space.encode([self.space.smallest, self.space.largest])
        lowest = [self._descend(ends[:1], constraint.metric) for constraint in known]
        rows = np.unique(np.concatenate([ends, *lowest, pool]), axis=0)
        values = self.values(rows)
        mask = self.meets(rows, constraints)
        scored = len(rows)
        if not mask.any() and len(known) > 1:
            # Each bound may be met alone: look along the way from one extreme to another before giving up.
            near = np.concatenate([self._repair(row[None], known) for row in np.concatenate(lowest)])
            rows, scored = np.concatenate([rows, near]), scored + len(near)
            values, mask = self.values(rows), self.meets(rows, constraints)
        if not mask.any():
            tightest = {c.metric: float(values[c.metric].min()) for c in known}
            raise InfeasibleError(_no_way(known, tightest, scored), scored, tightest)
        ranges = {name: (float(found.min()), float(found.max())) for name, found in values.items()}
        return Feasible(rows[mask], scored, float(mask.mean()), ranges)

    def _neighbours(self, row: Rows) -> Rows:
        """Every architecture that differs from `row` (genes,) in one gene; genes that it wakes up take their smallest choice."""
        found = []
        filled = np.maximum(row, 0)
        for column in np.flatnonzero(row >= 0):
            for choice in range(len(self.space.genes[column].choices)):
                other = filled.copy()
                other[column] = choice
                found.append(other)
        return self.space.encode(self.space.decode_rows(np.array(found, dtype=np.int16)))

    def _descend(self, start: Rows, metric: str) -> Rows:
        """Best of repeated one-gene changes from `start` (1, genes), for the smallest value of a metric."""
        best = start
        for _ in range(SWEEPS * max(1, len(self.space.genes))):
            near = np.concatenate([best, self._neighbours(best[0])]) if self.space.genes else best
            winner = int(np.argmin(self.values(near)[metric]))
            if winner == 0:
                break
            best = near[winner : winner + 1]
        return best

    def _repair(self, start: Rows, constraints: Sequence[Constraint]) -> Rows:
        """Best of repeated one-gene changes from `start` (1, genes), for the smallest worst excess over the bounds."""
        best = start
        for _ in range(SWEEPS * max(1, len(self.space.genes))):
            near = np.concatenate([best, self._neighbours(best[0])]) if self.space.genes else best
            values = self.values(near)
            excess = np.max([values[c.metric] / c.bound for c in constraints], axis=0)
            winner = int(np.argmin(excess))
            if winner == 0:
                break
            best = near[winner : winner + 1]
        return best


SHOWN = {
    "latency_s": ("latency", "fastest", 1e3, "ms"),
    "energy_j": ("energy", "least", 1e3, "mJ"),
    "macs": ("MACs", "fewest", 1e-6, "M"),
    "params": ("params", "fewest", 1e-6, "M"),
    "size_bytes": ("size", "smallest", 2**-20, "MiB"),
    "peak_memory_bytes": ("memory", "smallest", 2**-20, "MiB"),
}


def _no_way(constraints: Sequence[Constraint], tightest: Mapping[str, float], scored: int) -> str:
    parts, alone = [], []
    for constraint in constraints:
        name, word, scale, unit = SHOWN[constraint.metric]
        parts.append(f"{name} <= {constraint.bound * scale:.4g} {unit}")
        alone.append(f"the {word} of {scored} scored is {tightest[constraint.metric] * scale:.4g} {unit}")
    hint = "; each bound can be met alone, not all together" if all(c.holds(tightest[c.metric]) for c in constraints) else ""
    return f"nothing meets {' and '.join(parts)}: {', '.join(alone)}{hint}"
