"""How near a network comes to what the chip can do: achieved multiply-adds and bytes a second against the peaks.

The roofline model (Williams et al. 2009, Communications of the ACM 52(4)): a network of few multiply-adds a byte cannot use the chip's
multipliers, whatever runs it; what it reaches below that is lost to the runtime, whose overhead small networks pay most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nas.architecture import BlockSpec
from nas.cost import BYTES_PER_ELEMENT, count
from nas.errors import InputError
from nas.hardware.facts import Amount, Chip
from nas.hardware.features import FEATURES, network_features
from nas.metrics import Metric
from nas.target import Target

__all__ = ["Ceiling", "Peak", "Peaks", "ceiling", "peaks"]

_MOVED = [name.startswith("bytes_") for name in FEATURES]
_FP32 = BYTES_PER_ELEMENT["fp32"]
_KINDS = ("modelled", "measured", "published")  # the weakest first


@dataclass(frozen=True, slots=True)
class Peak:
    """The most of something a second.

    Attributes:
        source: of the weakest fact that it is made of.
        origin: where those facts are from, in words.
    """

    value: float
    source: Literal["published", "measured", "modelled"]
    origin: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value > 0):
            raise InputError(f"a peak must be a positive number, got {self.value}")


@dataclass(frozen=True, slots=True)
class Peaks:
    """What the cores of a target can do at most.

    Attributes:
        macs_per_s: fp32 multiply-adds of its threads, a core each; int8 instructions may do more.
        bytes_per_s: read and written by one core copying memory; several may move more, nobody says how much.
    """

    macs_per_s: Peak
    bytes_per_s: Peak

    @property
    def ridge_macs_per_byte(self) -> float:
        """Arithmetic intensity from which on the multipliers are the limit."""
        return self.macs_per_s.value / self.bytes_per_s.value


def peaks(chip: Chip, threads: int) -> Peaks:
    """Of that many cores of a chip."""
    busy = min(threads, int(chip.cores.value))
    return Peaks(
        _peak(busy * chip.macs_per_cycle.value * chip.clock_hz.value, chip.macs_per_cycle, chip.clock_hz),
        _peak(chip.memory_bytes_per_s.value, chip.memory_bytes_per_s),
    )


def _peak(value: float, *facts: Amount) -> Peak:
    return Peak(value, min((fact.kind for fact in facts), key=_KINDS.index), "; ".join(dict.fromkeys(fact.source for fact in facts)))


@dataclass(frozen=True, slots=True)
class Ceiling:
    """A network beneath the roof of its target.

    Attributes:
        macs: multiply-adds of an inference.
        moved_bytes: activations and weights that its operators read and write; those that a cache holds count as the others, so a network
            that stays in caches may rise above memory's roof.
        latency: seconds of an inference.
    """

    target: Target
    macs: float
    moved_bytes: float
    latency: Metric
    peaks: Peaks

    def __post_init__(self) -> None:
        if self.latency.unit != "s" or self.latency.value <= 0 or self.macs <= 0 or self.moved_bytes <= 0:
            raise InputError(
                f"a ceiling needs seconds, multiply-adds and bytes, got {self.latency.to_dict()}, {self.macs}, {self.moved_bytes}"
            )

    @property
    def macs_per_s(self) -> float:
        return self.macs / self.latency.value

    @property
    def bytes_per_s(self) -> float:
        return self.moved_bytes / self.latency.value

    @property
    def macs_per_byte(self) -> float:
        """Arithmetic intensity."""
        return self.macs / self.moved_bytes

    @property
    def least_s(self) -> float:
        """Seconds that the peaks allow."""
        return max(self.macs / self.peaks.macs_per_s.value, self.moved_bytes / self.peaks.bytes_per_s.value)

    @property
    def bound(self) -> Literal["compute", "memory"]:
        """Which peak allows no less."""
        return "compute" if self.macs_per_byte >= self.peaks.ridge_macs_per_byte else "memory"

    @property
    def model_share(self) -> float:
        """Of the multiply-add peak, what the network's arithmetic intensity allows: 1 where it is not bound by memory."""
        return min(1.0, self.macs_per_byte / self.peaks.ridge_macs_per_byte)

    @property
    def runtime_share(self) -> float:
        """Of what the roof allows, what is reached. Times `model_share` it is the share of the multiply-add peak."""
        return self.least_s / self.latency.value

    def to_dict(self) -> dict[str, object]:
        """With shares of the peaks."""
        return {
            "target": self.target.to_dict(),
            "macs": self.macs,
            "moved_bytes": self.moved_bytes,
            "macs_per_byte": self.macs_per_byte,
            "latency_s": self.latency.to_dict(),
            "macs_per_s": self.macs_per_s,
            "bytes_per_s": self.bytes_per_s,
            "compute_share": self.macs_per_s / self.peaks.macs_per_s.value,
            "memory_share": self.bytes_per_s / self.peaks.bytes_per_s.value,
            "bound": self.bound,
            "least_s": self.least_s,
            "model_share": self.model_share,
            "runtime_share": self.runtime_share,
            "peaks": {
                name: {"value": peak.value, "source": peak.source, "origin": peak.origin}
                for name, peak in (("macs_per_s", self.peaks.macs_per_s), ("bytes_per_s", self.peaks.bytes_per_s))
            },
        }


def ceiling(blocks: Sequence[BlockSpec], target: Target, latency: Metric, chip: Chip) -> Ceiling:
    """Of a network on a target."""
    moved = float(network_features(blocks)[_MOVED].sum()) * BYTES_PER_ELEMENT[target.precision] / _FP32
    return Ceiling(target, float(count(blocks).macs), moved, latency, peaks(chip, target.threads))
