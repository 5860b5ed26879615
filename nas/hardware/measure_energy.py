"""Joules of a network: windows of running between windows of rest, in a run of their own, by a meter of `nas.hardware.meters`.

What a meter covers draws power without the network too: the rest beside each window tells how much, so that a record holds both the
energy as metered and that net of idle. Latency is measured elsewhere: no meter runs beside it.

This file also runs on the device, without the rest of the package: Python 3.9 and numpy (see `transports.bundle`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.errors import DisturbedError, MeterError, TargetError
from nas.hardware.device_state import disturbance
from nas.hardware.measure import Machine
from nas.hardware.meters.base import FEWEST_READINGS, EnergyMeter, EnergyWindow, impossible

if TYPE_CHECKING:
    from nas.config import EnergyProtocol

__all__ = ["EnergyMeasurement", "measure_energy"]

_FEWEST_WINDOWS = 2
_LARGEST_CV = 0.10  # windows of half a second and more give about .03 on a quiet board (FINDINGS 9)
_MOST_RUNS = 10_000_000  # in a window, whatever the clock says
_SETTLE_S = 0.05  # after a run: threads of the runtime still spin
_FROZEN = 1e-9  # relative: windows of rest and of running that are alike to this are one reading, repeated
_CLEAR = 2.0  # times what rest varies by, see `_lost`
_BLIND = "the meter does not see the network, or something else was running"


@dataclass(frozen=True)
class EnergyMeasurement:
    """Energy of one network.

    Attributes:
        meter: name of the meter, with its argument.
        scope: what its joules cover.
        windows: (joules, seconds, runs) of each window of running.
        idle_w: watts beside each window: mean of the rest before and after it.
        rejected: why windows were repeated.
        readings: of the meter in the shortest window.
    """

    meter: str
    scope: str
    windows: tuple[tuple[float, float, int], ...]
    idle_w: tuple[float, ...]
    rejected: tuple[str, ...] = ()
    readings: int = 2

    def __post_init__(self) -> None:
        if len(self.windows) < _FEWEST_WINDOWS or len(self.idle_w) != len(self.windows):
            raise TargetError(f"energy needs at least {_FEWEST_WINDOWS} windows, each with its idle watts, got {len(self.windows)}")
        if not self.meter or not self.scope:
            raise TargetError("a joule without its meter and scope says nothing")
        for joules, seconds, runs in self.windows:
            if not (math.isfinite(joules) and joules > 0 and seconds > 0 and runs >= 1):
                raise TargetError(f"{joules} J in {seconds} s of {runs} runs cannot be")
        if any(not (math.isfinite(watts) and watts >= 0) for watts in self.idle_w):
            raise TargetError(f"idle watts cannot be {self.idle_w}")

    @property
    def inferences_j(self) -> tuple[float, ...]:
        """Joules of an inference as metered, by window."""
        return tuple(joules / runs for joules, _, runs in self.windows)

    @property
    def energy_j(self) -> float:
        """Joules of an inference as metered: median over the windows."""
        return float(np.median(self.inferences_j))

    @property
    def net_j(self) -> float:
        """Joules of an inference net of idle: median over the windows."""
        joules, seconds, runs = np.array(self.windows).T
        return float(np.median((joules - np.array(self.idle_w) * seconds) / runs))

    @property
    def cv(self) -> float:
        """Coefficient of variation of `inferences_j`: standard deviation over mean."""
        return float(np.std(self.inferences_j, ddof=1) / np.mean(self.inferences_j))

    @property
    def window_s(self) -> float:
        """The shortest window, seconds."""
        return min(seconds for _, seconds, _ in self.windows)

    @property
    def warning(self) -> str:
        """What is wrong with it; empty where nothing is."""
        found = [f"energy varies by {self.cv:.0%} from window to window"] if self.cv > _LARGEST_CV else []
        return "; ".join(found + [f"a window of energy was repeated: {reason}" for reason in self.rejected])

    def to_dict(self) -> dict[str, Any]:
        """For a line of JSON."""
        return {
            "meter": self.meter, "scope": self.scope, "windows": [list(window) for window in self.windows], "idle_w": list(self.idle_w),
            "rejected": list(self.rejected), "readings": self.readings,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EnergyMeasurement:
        """Reads `to_dict`'s form.

        Raises:
            TargetError: it does not hold together.
        """
        try:
            windows = tuple((float(joules), float(seconds), int(runs)) for joules, seconds, runs in data["windows"])
            return cls(
                str(data["meter"]), str(data["scope"]), windows, tuple(map(float, data["idle_w"])), tuple(map(str, data["rejected"])),
                int(data["readings"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as exc:
            raise TargetError(f"the device answered something that is no energy: {exc!r}") from exc


def measure_energy(
    run: Callable[[], None], protocol: EnergyProtocol, meter: EnergyMeter, spec: str, most_w: float | None = None,
    machine: Machine | None = None,
) -> EnergyMeasurement:  # fmt: skip
    """Energy of `run`: rest, running, rest, running, ... rest.

    Args:
        run: runs the network once.
        protocol: windows and their length.
        meter: that passed its self-test.
        spec: what the meter was asked for by, for the record.
        most_w: watts that the device cannot draw; the meter's own limit goes first.
        machine: whose clock; this one's by default.

    Raises:
        MeterError: the meter is too slow for the windows, died, or says the same whatever runs.
        DisturbedError: fewer than two windows could be kept, or running does not stand out from rest; says why.
    """
    shortest_s, needed_s = min(protocol.window_s, protocol.idle_s), FEWEST_READINGS * meter.resolution_s
    if needed_s > shortest_s:
        raise MeterError(f"{spec} reads every {meter.resolution_s:.3g} s: windows of {shortest_s:g} s must be {needed_s:.3g} s or longer")
    bench = _Bench(run, meter, machine or Machine())
    limit_w = most_w if meter.most_w is None else meter.most_w
    meter.align(bench.load, bench.rest)
    bench.load(protocol.idle_s)  # clocks and caches as they will be
    kept: list[tuple[EnergyWindow, int, float]] = []
    rejected: list[str] = []
    rises_w: list[float] = []
    steps_w: list[float] = []
    state = bench.machine.state()
    before = bench.resting(protocol.idle_s)
    while len(kept) < protocol.windows and len(rejected) <= protocol.max_repeats:
        window, runs = bench.running(protocol.window_s)
        after, later = bench.resting(protocol.idle_s), bench.machine.state()
        reason = impossible(before, limit_w) or impossible(window, limit_w) or impossible(after, limit_w) or disturbance(state, later)
        reason = reason or _unlike(before, window, after, protocol.max_drift)
        if not reason:
            rises_w.append(window.watts - (before.watts + after.watts) / 2)
            steps_w.append(abs(after.watts - before.watts))
            reason = _unseen(window, max(before.watts, after.watts))
        if reason:
            rejected.append(reason)
            if later.throttled:
                bench.machine.wait(protocol.cool_down_s)
                later, after = bench.machine.state(), bench.resting(protocol.idle_s)
        else:
            kept.append((window, runs, (before.watts + after.watts) / 2))
        before, state = after, later
    if len(kept) < _FEWEST_WINDOWS:
        raise DisturbedError(f"energy: {len(rejected)} windows do not count and {len(kept)} do: {'; '.join(dict.fromkeys(rejected))}")
    if reason := _lost(rises_w, steps_w):
        raise DisturbedError(f"energy: {reason}")
    windows = tuple((window.joules, window.seconds, runs) for window, runs, _ in kept)
    readings = min(window.readings for window, _, _ in kept)
    return EnergyMeasurement(spec, meter.scope, windows, tuple(idle for _, _, idle in kept), tuple(rejected), readings)


class _Bench:
    """Runs and rests, with the meter or without."""

    def __init__(self, run: Callable[[], None], meter: EnergyMeter, machine: Machine) -> None:
        self._run = run
        self._meter = meter
        self.machine = machine

    def load(self, seconds: float) -> int:
        """Runs the network for that long; how often."""
        end_ns = self.machine.now_ns() + round(seconds * 1e9)
        for runs in range(1, _MOST_RUNS):
            self._run()
            if self.machine.now_ns() >= end_ns:
                return runs
        return _MOST_RUNS

    def rest(self, seconds: float) -> None:
        """Leaves the machine alone for that long."""
        self.machine.wait(seconds)

    def running(self, seconds: float) -> tuple[EnergyWindow, int]:
        """A window of running, and how many runs it has."""
        self._run()
        self._meter.begin()
        runs = self.load(seconds)
        return self._meter.end(), runs

    def resting(self, seconds: float) -> EnergyWindow:
        """A window of rest."""
        self.rest(_SETTLE_S)
        self._meter.begin()
        self.rest(seconds)
        return self._meter.end()


def _unlike(before: EnergyWindow, window: EnergyWindow, after: EnergyWindow, limit: float) -> str:
    """Why the rest beside a window speaks against it; empty where it does not."""
    low, high = sorted((before.watts, after.watts))
    if high - low <= _FROZEN * high and abs(window.watts - high) <= _FROZEN * high:
        return f"the meter says {window.watts:.6g} W whether the network runs or not: it is frozen, or does not see the device"
    if high > (1 + limit) * low:
        return f"idle went from {before.watts:.3g} to {after.watts:.3g} W: something else was running"
    return ""


def _unseen(window: EnergyWindow, rest_w: float) -> str:
    """Why a window does not show the network; empty where it does."""
    return "" if window.watts > rest_w else f"running drew {window.watts:.4g} W and rest {rest_w:.4g} W: {_BLIND}"


def _lost(rises_w: Sequence[float], steps_w: Sequence[float]) -> str:
    """Why all windows together say that the meter does not see the network; empty where it does.

    By chance one window in three is above both its rests: 70 networks in 100 had their windows by the noise of a sensor on another load.
    So windows that were repeated for being below count here too, and 2 in 100 are left (simulated, normal noise). What rest varies by is
    taken from one side of a window to the other: a board that warms up does not vary by it, and a fan that comes on is one step of several.

    Args:
        rises_w: of running over the rest beside it.
        steps_w: of rest from before a window to after it.
    """
    rise_w, wander_w = float(np.median(rises_w)), float(np.sqrt(np.mean(np.square(steps_w))))
    if rise_w > _CLEAR * wander_w:
        return ""
    return f"running drew {rise_w:.3g} W more than rest, which alone varies by {wander_w:.3g} W: {_BLIND}"
