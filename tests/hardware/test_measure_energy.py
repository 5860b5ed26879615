from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from nas.config import EnergyProtocol
from nas.errors import DisturbedError, InputError, MeterError, TargetError
from nas.hardware.calibrate import MIN_NETWORKS
from nas.hardware.device_state import DeviceState
from nas.hardware.measure_energy import EnergyMeasurement, measure_energy
from nas.hardware.meters import EnergyWindow
from nas.hardware.meters.base import Clock
from nas.hardware.meters.sampled import SampledMeter
from tests.hardware.clocks import FakeClock, FakeMachine

PROTOCOL = EnergyProtocol(windows=3, window_s=0.5, idle_s=0.5)


class FakeMeter:
    """Watts of each window in turn; a text dies with it."""

    name = "fake"
    resolution_s = 0.01
    most_w: float | None = None
    is_automatic = True
    scope = "board"

    def __init__(self, clock: FakeClock, *watts: float | str) -> None:
        self.clock = clock
        self.watts: Iterator[float | str] = iter(watts)
        self.start_ns = 0
        self.aligned = 0
        self.closed = 0

    def self_test(self) -> None:
        """Works."""

    def align(self, load: Callable[[float], object], rest: Callable[[float], object]) -> None:
        self.aligned += 1

    def begin(self) -> None:
        self.start_ns = self.clock.now_ns

    def end(self) -> EnergyWindow:
        seconds = (self.clock.now_ns - self.start_ns) * 1e-9
        watts = next(self.watts)
        if isinstance(watts, str):
            raise MeterError(watts)
        return EnergyWindow(watts * seconds, seconds, 50)

    def close(self) -> None:
        self.closed += 1


def measured(clock: FakeClock, *watts: float | str, most_w: float | None = None, machine: FakeMachine | None = None) -> EnergyMeasurement:
    meter = FakeMeter(clock, *watts)
    return measure_energy(clock.run_of(0.01), PROTOCOL, meter, "fake", most_w, machine or FakeMachine(clock))


def test_joules_are_of_one_inference_with_and_without_idle(clock: FakeClock) -> None:
    found = measured(clock, 2.0, 5.0, 2.0, 5.0, 2.0, 5.0, 2.0)
    assert found.energy_j == pytest.approx(5.0 * 0.01)
    assert found.net_j == pytest.approx(3.0 * 0.01)
    assert found.idle_w == (2.0, 2.0, 2.0)
    assert found.cv == pytest.approx(0.0)
    assert found.window_s >= 0.5
    assert (found.meter, found.scope, found.readings, found.warning) == ("fake", "board", 50, "")
    assert EnergyMeasurement.from_dict(found.to_dict()) == found


def test_spread_is_told(clock: FakeClock) -> None:
    found = measured(clock, 2.0, 4.0, 2.0, 5.0, 2.0, 6.0, 2.0)
    assert found.cv == pytest.approx(0.2)
    assert "varies by 20%" in found.warning


@pytest.mark.parametrize(
    ("watts", "word"),
    [
        ((2.0, 50.0, 2.0), "50 W is more than the 20 W"),
        ((2.0, -1.0, 2.0), "negative"),
        ((2.0, 0.0, 2.0), "stood still"),
        ((2.0, 5.0, 3.0), "idle went from 2 to 3 W"),
        ((2.0, 1.9, 2.0), "running drew 1.9 W and rest 2 W"),
    ],
)
def test_a_window_that_cannot_be_is_repeated(clock: FakeClock, watts: tuple[float, ...], word: str) -> None:
    found = measured(clock, *watts, 5.0, watts[-1], 5.0, watts[-1], 5.0, watts[-1], most_w=20.0)
    assert len(found.windows) == 3
    assert word in found.rejected[0]
    assert "repeated" in found.warning
    assert found.energy_j == pytest.approx(0.05)


def test_a_frozen_meter_is_refused(clock: FakeClock) -> None:
    with pytest.raises(DisturbedError, match="3 W whether the network runs or not: it is frozen"):
        measured(clock, *[3.0] * 40)


def test_a_meter_that_sees_another_load_does_not_pass_by_its_noise() -> None:
    passed, reasons = 0, list[str]()
    for seed in range(40):
        noise = np.random.default_rng(seed).normal(2.0, 0.05, 40)
        try:
            measured(FakeClock(), *noise.tolist())
            passed += 1
        except DisturbedError as exc:
            reasons.append(str(exc))
    assert passed < MIN_NETWORKS
    assert sum("W more than rest, which alone varies by 0.0" in reason for reason in reasons) > 20


def test_a_board_that_warms_up_and_whose_fan_comes_on_is_metered(clock: FakeClock) -> None:
    found = measured(clock, 2.7, 3.7, 2.8, 3.8, 3.2, 4.2, 3.3)
    assert found.warning == ""
    assert found.net_j == pytest.approx(0.95 * 0.01)


def test_a_meter_that_dies_in_the_middle_says_so(clock: FakeClock) -> None:
    with pytest.raises(MeterError, match="unplugged"):
        measured(clock, 2.0, 5.0, 2.0, "unplugged")


def test_a_throttled_window_is_repeated(clock: FakeClock) -> None:
    hot, cool = DeviceState(throttled=("under-voltage",)), DeviceState()
    machine = FakeMachine(clock, cool, hot, cool)
    found = measured(clock, 2.0, 5.0, 2.0, 2.0, *[5.0, 2.0] * 3, machine=machine)
    assert found.rejected == ("the device is throttled: under-voltage",)
    assert PROTOCOL.cool_down_s in machine.waited_s


class Seconds(Clock):
    """A fake clock as meters read it."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock

    def now_s(self) -> float:
        return self.clock.now_ns * 1e-9


class Sensor(SampledMeter):
    """Read by the test alone: 5 W while the network runs, and once less than nothing."""

    name, scope = "sensor", "board"
    busy_reading = 0
    is_busy = False

    def read_w(self) -> float:
        self.busy_reading += self.is_busy
        return 3.0 if not self.is_busy else -0.5 if self.busy_reading == BAD_READING else 5.0


BAD_READING = 60
"""Of a busy device: fifty runs warm it up, and the first window has fifty."""


class Sensed(FakeMachine):
    """A sensor reads it ten times while it waits."""

    def __init__(self, clock: FakeClock, sensor: Sensor) -> None:
        super().__init__(clock)
        self.sensor = sensor

    def wait(self, seconds: float) -> None:
        for _ in range(10):
            super().wait(seconds / 10)
            self.sensor.sample()


def test_a_reading_that_cannot_be_costs_its_window_and_not_the_meter(clock: FakeClock) -> None:
    sensor, pass_time = Sensor(Seconds(clock), period_s=3600.0), clock.run_of(0.01)

    def run() -> None:
        pass_time()
        sensor.is_busy = True
        sensor.sample()
        sensor.is_busy = False

    found = measure_energy(run, PROTOCOL, sensor, "sensor", None, Sensed(clock, sensor))
    assert len(found.windows) == 3
    assert len(found.rejected) == 1
    assert "-0.5 W is negative" in found.rejected[0]
    assert found.energy_j == pytest.approx(0.05, rel=0.05)


def test_a_meter_slower_than_the_window_is_refused_before_anything_runs(clock: FakeClock) -> None:
    meter = FakeMeter(clock)
    meter.resolution_s = 0.2
    with pytest.raises(MeterError, match=r"reads every 0.2 s: windows of 0.5 s must be 1 s or longer"):
        measure_energy(clock.run_of(0.01), PROTOCOL, meter, "fake", None, FakeMachine(clock))
    assert meter.aligned == 0


def test_windows_are_never_shorter_than_half_a_second() -> None:
    with pytest.raises(ValueError, match=r"greater than or equal to 0\.5"):
        EnergyProtocol(window_s=0.4)


@pytest.mark.parametrize(
    ("windows", "scope", "word"),
    [
        (((1.0, 1.0, 10),), "board", "at least 2 windows"),
        (((1.0, 1.0, 10), (-1.0, 1.0, 10)), "board", "cannot be"),
        (((1.0, 1.0, 10), (1.0, 1.0, 10)), "", "scope"),
    ],
)
def test_records_check_themselves(windows: tuple[tuple[float, float, int], ...], scope: str, word: str) -> None:
    with pytest.raises(TargetError, match=word):
        EnergyMeasurement("fake", scope, windows, (1.0,) * len(windows))
    with pytest.raises(TargetError, match="no energy"):
        EnergyMeasurement.from_dict({"meter": "fake"})
    assert issubclass(MeterError, TargetError)
    assert not issubclass(MeterError, InputError)
