"""Whether energy is an axis of its own: how far it ranks candidates otherwise than latency does.

At fixed settings on one processor energy follows latency, as watts times seconds exactly: then it is shown, not searched. It differs
where joules were measured, and between targets of one device: more threads are faster and draw more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from nas.search.scoring import BaseScorer, Rows

__all__ = ["EnergyAxis", "Verdict", "energy_axis", "rho", "verdict"]

ALIKE = 0.98
"""Spearman's rho from which on energy says what latency says: that of measured energies of one core (FINDINGS 9)."""
POOL = 5_000
"""Architectures that are looked at: rho is then known to .001."""

Array = NDArray[np.float64]
Verdict = Literal["searched", "targets", "shown"]
"""Searched: an objective of the sampler. Targets: ranks targets otherwise, so the front has it, while on each target it follows latency.
Shown: neither."""


@dataclass(frozen=True, slots=True)
class EnergyAxis:
    """Spearman's rho of latency and energy.

    Attributes:
        within: over architectures on one target, the smallest over the targets.
        across: over architectures and targets together.
        targets: how many there are.
        scored: candidates that were looked at.
    """

    within: float
    across: float
    targets: int
    scored: int

    def words(self, device: str, found: Verdict) -> str:
        """For a reader."""
        on = f"on {self.targets} targets of {device}" if self.targets > 1 else f"on {device}"
        if found == "searched":
            return f"energy and latency {on}: ρ = {self.within:.2f} on one target over {self.scored:,} scored: energy is searched too"
        if found == "targets":
            return f"energy and latency {on}: ρ = {self.across:.2f} over {self.scored:,} scored: energy is the front's third axis"
        return f"energy and latency {on}: ρ = {self.across:.2f} over {self.scored:,} scored: energy is shown, not searched"


def energy_axis(scorer: BaseScorer, rows: Rows) -> EnergyAxis | None:
    """Scores architectures on every target of a scorer; None where the device has no power data, or too few architectures.

    Args:
        rows: (n, genes), of architectures that are feasible.
    """
    every = scorer.all
    if len(rows) < 3 or not all(each.knows_energy for each in every):
        return None
    found = [each.values(rows[:POOL]) for each in every]
    pairs = [np.stack([values["latency_s"], values["energy_j"]]) for values in found]
    within = min(rho(*pair) for pair in pairs)
    return EnergyAxis(within, rho(*np.concatenate(pairs, axis=1)), len(every), sum(pair.shape[1] for pair in pairs))


def verdict(axes: Sequence[EnergyAxis | None]) -> Verdict:
    """Of all devices of a search, which share their objectives."""
    known = [axis for axis in axes if axis is not None]
    if not known or len(known) < len(axes):
        return "shown"
    if min(axis.within for axis in known) < ALIKE:
        return "searched"
    return "targets" if min(axis.across for axis in known) < ALIKE else "shown"


def rho(one: Array, other: Array) -> float:
    """Spearman's rank correlation of (n,) and (n,); 1 where one of them does not vary: it ranks nothing otherwise."""
    return 1.0 if np.ptp(one) == 0 or np.ptp(other) == 0 else float(spearmanr(one, other).statistic)
