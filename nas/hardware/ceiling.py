"""How near a network comes to what the chip can do: achieved multiply-adds and bytes a second against the peaks.

The roofline model (Williams et al. 2009, Communications of the ACM 52(4)): far below both peaks the runtime wastes the chip, or the
network is too small for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas.architecture import BlockSpec
from nas.cost import BYTES_PER_ELEMENT, count
from nas.errors import InputError
from nas.hardware.facts import Chip
from nas.hardware.features import FEATURES, network_features
from nas.metrics import Metric
from nas.target import Target

__all__ = ["Ceiling", "Peaks", "ceiling", "peaks"]

_MOVED = [name.startswith("bytes_") for name in FEATURES]
_FP32 = BYTES_PER_ELEMENT["fp32"]


@dataclass(frozen=True, slots=True)
class Peaks:
    """What the cores of a target can do at most.

    Attributes:
        macs_per_s: fp32 multiply-adds of its threads, a core each.
        bytes_per_s: read and written by one core copying memory; several may move more, nobody says how much.
    """

    macs_per_s: float
    bytes_per_s: float
    source: str


def peaks(chip: Chip, threads: int) -> Peaks:
    """Of that many cores of a chip."""
    busy = min(threads, int(chip.cores.value))
    source = f"{chip.macs_per_cycle.source}; {chip.memory_bytes_per_s.source}"
    return Peaks(chip.macs_per_cycle.value * chip.clock_hz.value * busy, chip.memory_bytes_per_s.value, source)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """A network beneath the roof of its target.

    Attributes:
        macs: multiply-adds of an inference.
        moved_bytes: activations and weights read and written, caches not counted.
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
    def least_s(self) -> float:
        """Seconds that the peaks allow."""
        return max(self.macs / self.peaks.macs_per_s, self.moved_bytes / self.peaks.bytes_per_s)

    @property
    def bound(self) -> str:
        """Which peak allows no less: "compute" or "memory"."""
        return "compute" if self.macs / self.peaks.macs_per_s >= self.moved_bytes / self.peaks.bytes_per_s else "memory"

    def to_dict(self) -> dict[str, object]:
        """With shares of the peaks."""
        return {
            "target": self.target.to_dict(),
            "macs": self.macs,
            "moved_bytes": self.moved_bytes,
            "macs_per_byte": self.macs / self.moved_bytes,
            "latency_s": self.latency.to_dict(),
            "macs_per_s": self.macs_per_s,
            "bytes_per_s": self.bytes_per_s,
            "compute_share": self.macs_per_s / self.peaks.macs_per_s,
            "memory_share": self.bytes_per_s / self.peaks.bytes_per_s,
            "bound": self.bound,
            "least_s": self.least_s,
            "efficiency": self.least_s / self.latency.value,
            "peaks": {"macs_per_s": self.peaks.macs_per_s, "bytes_per_s": self.peaks.bytes_per_s, "source": self.peaks.source},
        }


def ceiling(blocks: Sequence[BlockSpec], target: Target, latency: Metric, chip: Chip) -> Ceiling:
    """Of a network on a target."""
    moved = float(network_features(blocks)[_MOVED].sum()) * BYTES_PER_ELEMENT[target.precision] / _FP32
    return Ceiling(target, float(count(blocks).macs), moved, latency, peaks(chip, target.threads))
