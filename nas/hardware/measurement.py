"""What was measured of one network: every run that was timed, what spoke against some of them, and the label that follows.

This file also runs on the device, without the rest of the package: Python 3.9 and numpy (see `transports.bundle`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from nas.errors import TargetError
from nas.hardware.device_state import DeviceState

__all__ = ["Measurement", "Rejected"]

_MAX_RELATIVE_IQR = 0.10  # as torch.utils.benchmark: beyond it the system fluctuates


@dataclass(frozen=True)
class Rejected:
    """A window that does not count: why, and its seconds."""

    reason: str
    window_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class Measurement:
    """What was measured of one network.

    Attributes:
        windows_s: seconds of every run, by window.
        anchors_s: median seconds of the anchor's run before and after each window; empty without an anchor.
        anchor_windows_s: seconds of every run of the anchor, by window, in order of time.
        rejected: windows that were repeated.
        states: of the machine before the first window and after the last.
        stable: whether warming up ended because runs had become alike, not because of its limit.
    """

    windows_s: tuple[tuple[float, ...], ...]
    anchors_s: tuple[tuple[float, float], ...] = ()
    anchor_windows_s: tuple[tuple[float, ...], ...] = ()
    rejected: tuple[Rejected, ...] = ()
    states: tuple[DeviceState, DeviceState] = field(default=(DeviceState(), DeviceState()))
    stable: bool = True

    def __post_init__(self) -> None:
        if not self.windows_s or any(len(window) < 2 for window in self.windows_s):
            raise TargetError(f"a measurement needs at least 2 runs in every window, got {[len(window) for window in self.windows_s]}")
        if self.anchors_s and len(self.anchors_s) != len(self.windows_s):
            raise TargetError(f"{len(self.windows_s)} windows need as many pairs of anchors, got {len(self.anchors_s)}")
        if any(not (math.isfinite(value) and value > 0) for value in (*self.samples_s, *(a for pair in self.anchors_s for a in pair))):
            raise TargetError("the clock gave a run that took no time: the model is too small for it, or the clock stands still")

    @property
    def samples_s(self) -> tuple[float, ...]:
        """Seconds of every run."""
        return tuple(value for window in self.windows_s for value in window)

    @property
    def median_s(self) -> float:
        return float(np.median(self.samples_s))

    @property
    def iqr_s(self) -> float:
        """Distance of the quartiles, seconds."""
        low, high = np.percentile(self.samples_s, (25, 75))
        return float(high - low)

    @property
    def p90_s(self) -> float:
        return float(np.percentile(self.samples_s, 90))

    @property
    def p99_s(self) -> float:
        return float(np.percentile(self.samples_s, 99))

    @property
    def anchor_s(self) -> float | None:
        """Median of the anchor's windows, seconds; None without an anchor."""
        return float(np.median(self.anchors_s)) if self.anchors_s else None

    def labels_s(self, anchor_s: float | None = None) -> tuple[float, ...]:
        """Latency by window, seconds: its median over the anchor's beside it, times the anchor's over the whole session.

        Args:
            anchor_s: the anchor's median over the session; this measurement's own by default. Raw medians without an anchor.
        """
        medians = [float(np.median(window)) for window in self.windows_s]
        if not self.anchors_s:
            return tuple(medians)
        scale = self.anchor_s if anchor_s is None else anchor_s
        beside = [(before + after) / 2 for before, after in self.anchors_s]
        return tuple(medians[index] / beside[index] * float(scale or 0.0) for index in range(len(medians)))

    def latency_s(self, anchor_s: float | None = None) -> float:
        """The label: median over `labels_s`."""
        return float(np.median(self.labels_s(anchor_s)))

    @property
    def warning(self) -> str:
        """What is wrong with it; empty where nothing is."""
        share = self.iqr_s / self.median_s
        found = []
        if share > _MAX_RELATIVE_IQR:
            found.append(f"IQR is {share:.0%} of the median: the machine was busy")
        if not self.stable:
            found.append("runs had not become alike when warming up ended")
        found += [f"a window was repeated: {each.reason}" for each in self.rejected]
        return "; ".join(found)

    def columns(self) -> dict[str, Any]:
        """Every run as columns of equal length: seconds, window (counted by kind), kind (see `KINDS`)."""
        parts = (self.windows_s, self.anchor_windows_s, tuple(each.window_s for each in self.rejected))
        rows = [(value, number, kind) for kind, windows in enumerate(parts) for number, window in enumerate(windows) for value in window]
        return {
            "seconds": np.array([row[0] for row in rows], dtype=np.float64),
            "window": np.array([row[1] for row in rows], dtype=np.int16),
            "kind": np.array([row[2] for row in rows], dtype=np.int8),
        }

    def to_dict(self) -> dict[str, Any]:
        """For a line of JSON: runs as whole nanoseconds."""
        return {
            "windows_ns": _to_ns(self.windows_s),
            "anchors_ns": _to_ns(self.anchors_s),
            "anchor_windows_ns": _to_ns(self.anchor_windows_s),
            "rejected": [{"reason": each.reason, "window_ns": _to_ns((each.window_s,))[0]} for each in self.rejected],
            "states": [asdict(state) for state in self.states],
            "stable": self.stable,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Measurement:
        """Reads `to_dict`'s form.

        Raises:
            TargetError: it does not hold together.
        """
        try:
            before, after = (DeviceState(**{**state, "throttled": tuple(state["throttled"])}) for state in data["states"])
            return cls(
                windows_s=_from_ns(data["windows_ns"]),
                anchors_s=tuple((pair[0], pair[1]) for pair in _from_ns(data["anchors_ns"])),
                anchor_windows_s=_from_ns(data["anchor_windows_ns"]),
                rejected=tuple(Rejected(each["reason"], _from_ns([each["window_ns"]])[0]) for each in data["rejected"]),
                states=(before, after),
                stable=data["stable"],
            )
        except (KeyError, TypeError, ValueError, IndexError) as exc:
            raise TargetError(f"the device answered something that is no measurement: {exc!r}") from exc


KINDS = ("network", "anchor", "rejected")
"""Names of the numbers in the column "kind"."""


def _to_ns(windows: Iterable[Iterable[float]]) -> list[list[int]]:
    return [[round(value * 1e9) for value in window] for window in windows]


def _from_ns(windows: Iterable[Iterable[int]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(value * 1e-9 for value in window) for window in windows)
