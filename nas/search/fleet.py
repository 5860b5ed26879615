"""Several devices as one: the figures of a network that must serve all of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from nas.architecture import Architecture, BlockSpec
from nas.errors import InputError
from nas.metrics import Metric
from nas.search.scoring import BaseScorer, Rows
from nas.target import Target

__all__ = ["FleetScorer", "Joint", "fleet_name"]

T = TypeVar("T")
Joint = Literal["worst", "mean"]
JOINED = ("latency_s", "energy_j")
"""Metrics that depend on the device; the others are those of the network."""


def fleet_name(joint: Joint) -> str:
    """What stands for all devices of a search where a device's name does: in files, tables and MLflow."""
    return f"joint-{joint}"


class FleetScorer(BaseScorer):
    """Worst or mean latency and energy over devices, in seconds and joules.

    Worst: what holds on every device, whichever is slowest for a network. Mean: what all of them together pay. A bound on latency or
    energy is one on that figure; with `worst` every device keeps it.

    Args:
        members: at least two, of one space and one precision.
    """

    def __init__(self, members: Sequence[BaseScorer], joint: Joint) -> None:
        targets = [member.target for member in members]
        if len(members) < 2:
            raise InputError(f"joint figures are those of two devices or more, got {', '.join(t.device for t in targets) or 'none'}")
        digest = hashlib.sha256(" ".join([joint, *(member.digest for member in members)]).encode()).hexdigest()[:12]
        target = Target(
            fleet_name(joint), _joined([t.runtime for t in targets]), _joined([t.runtime_version for t in targets]), targets[0].precision,
            max(t.threads for t in targets),
        )  # fmt: skip
        half_width, knows_energy = max(member.half_width for member in members), all(member.knows_energy for member in members)
        super().__init__(members[0].space, target, half_width, digest, knows_energy=knows_energy)
        self.members, self.joint = tuple(members), joint

    def metrics(self, arch: Architecture) -> dict[str, Metric]:
        """See `BaseScorer.metrics`. The ends of a band are the worst or mean of the devices' ends: wider than needed where their errors
        are not the same."""
        found = [member.metrics(arch) for member in self.members]
        return {**_shared(found), **{name: self._metric([each[name] for each in found]) for name in _known(found)}}

    def latency_s(self, blocks: Sequence[BlockSpec]) -> float:
        """See `BaseScorer.latency_s`."""
        return self._over([member.latency_s(blocks) for member in self.members])

    def values(self, rows: Rows) -> dict[str, NDArray[np.float64]]:
        """See `BaseScorer.values`."""
        found = [member.values(rows) for member in self.members]
        over = np.max if self.joint == "worst" else np.mean
        return {**_shared(found), **{name: over([each[name] for each in found], axis=0) for name in _known(found)}}

    def words(self, arch: Architecture) -> str:
        """The latency on each device."""
        latencies = [(member.target.device, 1e3 * member.metrics(arch)["latency_s"].value) for member in self.members]
        return ", ".join(f"{device} {latency:.4g} ms" for device, latency in latencies)

    def _metric(self, found: Sequence[Metric]) -> Metric:
        first = found[0]
        low, high = (self._over([getattr(each, end) for each in found if each.low is not None]) for end in ("low", "high"))
        scope = None if first.scope is None else _joined([str(each.scope) for each in found])
        source = "modelled" if any(each.source == "modelled" for each in found) else first.source
        return Metric(self._over([each.value for each in found]), first.unit, source, low=low, high=high, scope=scope)

    def _over(self, values: Sequence[float]) -> float:
        return max(values) if self.joint == "worst" else math.fsum(values) / len(values)


def _known(found: Sequence[Mapping[str, object]]) -> list[str]:
    """Which of the metrics that depend on the device all devices have."""
    return [name for name in JOINED if all(name in each for each in found)]


def _shared(found: Sequence[Mapping[str, T]]) -> dict[str, T]:
    """What is the same on all devices."""
    return {name: value for name, value in found[0].items() if name not in JOINED}


def _joined(names: Sequence[str]) -> str:
    """Each once."""
    return "+".join(dict.fromkeys(names))
