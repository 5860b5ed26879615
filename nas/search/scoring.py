"""What is known of an architecture before its accuracy: counts, predicted latency and energy; and which constraints it meets."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nas.architecture import Architecture, BlockSpec
from nas.cost import count, count_rows
from nas.errors import InfeasibleError
from nas.hardware.energy import EnergyModel, FoldedEnergy
from nas.hardware.predictor import BlockTable, LatencyPredictor
from nas.hardware.predictor_file import predictor_to_dict
from nas.metrics import Constraint, Metric
from nas.space import SearchSpace
from nas.target import Target

__all__ = ["BaseScorer", "Feasible", "Scorer"]

Rows = NDArray[np.int16]
POOL = 1_000_000
"""Random architectures scored to learn what the space can do; a space of fewer is seen whole, nearly."""
CHUNK = 50_000
"""Architectures scored at once: some tens of megabytes."""
DRAWS_EACH = 20
"""Draws for each architecture of a space that is small enough: all but e^-20 of them are seen."""
KEPT = 20_000
"""Feasible architectures that are kept of a pool."""
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

    def words(self) -> str:
        """For a reader: how many were scored, how many are feasible, and what the space can do."""
        low, high = (1e3 * end for end in self.ranges["latency_s"])
        return f"{self.scored:,} scored, {self.share:.0%} feasible, latency {low:.3g} to {high:.3g} ms"


class BaseScorer(ABC):
    """Everything but accuracy, for one space on one target.

    Attributes:
        target: what candidates are said to run on.
        half_width: of the 90 % band of predicted latency, as a share.
        digest: of what the figures come from; another one means that what was told to a study is not comparable any more.
        knows_energy: whether it is among the metrics.
        others: scorers of other targets of the device, with the same metrics: a constraint is met where one of them all meets it.
    """

    def __init__(
        self, space: SearchSpace, target: Target, half_width: float, digest: str, *, knows_energy: bool, others: Sequence[BaseScorer] = ()
    ) -> None:
        self.space, self.target, self.half_width, self.digest = space, target, half_width, digest
        self.knows_energy, self.others = knows_energy, tuple(others)

    @property
    def all(self) -> tuple[BaseScorer, ...]:
        """This one and the others."""
        return (self, *self.others)

    @abstractmethod
    def metrics(self, arch: Architecture) -> dict[str, Metric]:
        """Counted and predicted metrics of one architecture; energy where it is known."""

    @abstractmethod
    def latency_s(self, blocks: Sequence[BlockSpec]) -> float:
        """Predicted latency of any network, of the space or not, seconds."""

    @cached_property
    def names(self) -> frozenset[str]:
        """Of `metrics`: the same for every architecture."""
        return frozenset(self.metrics(self.space.smallest))

    @abstractmethod
    def values(self, rows: Rows) -> dict[str, NDArray[np.float64]]:
        """The values of `metrics` for many architectures: each of shape (n,)."""

    def words(self, arch: Architecture) -> str:  # noqa: ARG002
        """What a reader should know of an architecture besides its metrics; empty for nothing."""
        return ""

    def meets(self, rows: Rows, constraints: Sequence[Constraint]) -> NDArray[np.bool_]:
        """Which rows meet every constraint on a metric that is known before accuracy, on one target at least."""
        if not constraints:
            return np.ones(len(rows), dtype=np.bool_)
        return np.asarray(np.any([self.within(each.values(rows), len(rows), constraints) for each in self.all], axis=0))

    @staticmethod
    def within(values: Mapping[str, NDArray[np.float64]], count: int, constraints: Sequence[Constraint]) -> NDArray[np.bool_]:
        """`meets` for `count` rows whose values are known."""
        mask = np.ones(count, dtype=np.bool_)
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
        ends = self.space.encode([self.space.smallest, self.space.largest])
        lowest = [self._descend(ends[:1], constraint.metric) for constraint in known]
        extremes, rng = np.concatenate([ends, *lowest]), np.random.default_rng(seed)
        pool = _Pool(self, constraints)
        if self.space.size <= POOL // DRAWS_EACH:
            drawn = self.space.sample_rows(DRAWS_EACH * self.space.size, rng)
            pool.add(np.unique(np.concatenate([extremes, drawn]), axis=0))
        else:
            pool.add(np.unique(extremes, axis=0))
            for _ in range(POOL // CHUNK):
                pool.add(self.space.sample_rows(CHUNK, rng))
        if not pool.feasible and len(known) > 1:
            # Each bound may be met alone: look along the way from one extreme to another before giving up.
            pool.add(np.concatenate([self._repair(row[None], known) for row in np.concatenate(lowest)]))
        if not pool.feasible:
            tightest = {c.metric: pool.ranges[c.metric][0] for c in known}
            raise InfeasibleError(_no_way(known, tightest, pool.scored), pool.scored, tightest)
        rows = np.concatenate(pool.rows)
        return Feasible(rows[:KEPT], pool.scored, pool.feasible / pool.scored, pool.ranges)

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


class Scorer(BaseScorer):
    """One device: its predictors give latency and energy.

    Args:
        energy: None where the device has no power data: then no energy is among the metrics.
    """

    def __init__(
        self, space: SearchSpace, target: Target, predictor: LatencyPredictor, energy: EnergyModel | None, others: Sequence[BaseScorer] = ()
    ) -> None:
        text = json.dumps(predictor_to_dict(predictor), sort_keys=True)
        digest = hashlib.sha256(f"{text}{'' if energy is None else repr(energy)}".encode()).hexdigest()[:12]
        super().__init__(space, target, predictor.half_width, digest, knows_energy=energy is not None, others=others)
        self.predictor, self.energy = predictor, energy

    def metrics(self, arch: Architecture) -> dict[str, Metric]:
        """See `BaseScorer.metrics`."""
        blocks = self.space.decode(arch)
        latency = self.predictor.predict(blocks, self.target.threads)
        found = {**count(blocks, self.target.precision).metrics(), "latency_s": latency}
        return found if self.energy is None else {**found, "energy_j": self.energy.predict(blocks, latency)}

    def latency_s(self, blocks: Sequence[BlockSpec]) -> float:
        """See `BaseScorer.latency_s`."""
        return self.predictor.predict(blocks, self.target.threads).value

    @cached_property
    def _table(self) -> BlockTable:
        return self.predictor.fold(self.space.blocks)

    @cached_property
    def _folded_energy(self) -> FoldedEnergy | None:
        return None if self.energy is None else self.energy.fold(self.space.blocks)

    def values(self, rows: Rows) -> dict[str, NDArray[np.float64]]:
        """See `BaseScorer.values`."""
        index = self.space.block_index(rows)
        found = count_rows(self.space.blocks, index, self.target.precision)
        latency = self._table.rows(index, self.target.threads)[0]
        found["latency_s"] = latency
        return found if self._folded_energy is None else {**found, "energy_j": self._folded_energy(index, latency)}


class _Pool:
    """What was seen of a pool that is scored in chunks; rows of it that are feasible are kept, up to a number."""

    def __init__(self, scorer: BaseScorer, constraints: Sequence[Constraint]) -> None:
        self._scorer, self._constraints = scorer, constraints
        self.rows: list[Rows] = []
        self.scored = self.feasible = 0
        self.ranges: dict[str, tuple[float, float]] = {}

    def add(self, rows: Rows) -> None:
        every = [each.values(rows) for each in self._scorer.all]
        mask = np.any([self._scorer.within(values, len(rows), self._constraints) for values in every], axis=0)
        self.scored, self.feasible = self.scored + len(rows), self.feasible + int(mask.sum())
        if sum(map(len, self.rows)) < KEPT:
            self.rows.append(rows[mask])
        for name, found in ((name, found) for values in every for name, found in values.items()):
            low, high = self.ranges.get(name, (np.inf, -np.inf))
            self.ranges[name] = (min(low, float(found.min())), max(high, float(found.max())))


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
        alone.append(f"the {word} of {scored:,} scored is {tightest[constraint.metric] * scale:.4g} {unit}")
    hint = "; each bound can be met alone, not all together" if all(c.holds(tightest[c.metric]) for c in constraints) else ""
    return f"nothing meets {' and '.join(parts)}: {', '.join(alone)}{hint}"
