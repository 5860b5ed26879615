from __future__ import annotations

import json

import pytest

from nas.config import MeasureProtocol
from nas.errors import DisturbedError, TargetError
from nas.hardware.device_state import DeviceState
from nas.hardware.measure import Machine, Measurement, measure
from tests.hardware.clocks import FakeClock, FakeMachine

PROTOCOL = MeasureProtocol(windows=3, window_s=0.005, min_runs=3, warmup_runs=1)


def test_what_is_measured_is_what_it_takes(clock: FakeClock) -> None:
    measurement = measure(clock.run_of(1e-3), PROTOCOL)
    assert measurement.median_s == pytest.approx(1e-3)
    assert measurement.latency_s() == pytest.approx(1e-3)
    assert measurement.iqr_s == pytest.approx(0)
    assert len(measurement.windows_s) == 3
    assert all(len(window) == 5 for window in measurement.windows_s)
    assert measurement.warning == ""
    assert measurement.anchor_s is None


def test_slow_runs_still_get_their_number_and_fast_ones_end(clock: FakeClock) -> None:
    slow = measure(clock.run_of(1.0), PROTOCOL)
    assert all(len(window) == PROTOCOL.min_runs for window in slow.windows_s)
    fast = measure(clock.run_of(1e-6), PROTOCOL.model_copy(update={"max_runs": 10}))
    assert all(len(window) == 10 for window in fast.windows_s)


def test_the_ratio_to_the_anchor_cancels_drift(clock: FakeClock) -> None:
    clock.drift = 2.0
    raw = measure(clock.run_of(2e-3), PROTOCOL)
    against = measure(clock.run_of(2e-3), PROTOCOL, clock.run_of(1e-3))
    assert raw.median_s > 2.05e-3
    assert against.latency_s(1e-3) == pytest.approx(2e-3, rel=0.02)


def test_statistics_are_of_all_samples() -> None:
    measurement = Measurement(((1.0, 2.0), (3.0, 4.0)))
    assert measurement.samples_s == (1.0, 2.0, 3.0, 4.0)
    assert measurement.median_s == 2.5
    assert measurement.iqr_s == 1.5
    assert measurement.p90_s == pytest.approx(3.7)
    assert measurement.p99_s == pytest.approx(3.97)
    assert "IQR" in measurement.warning


@pytest.mark.parametrize(
    ("windows", "anchors", "word"),
    [((), (), "2 runs"), (((1.0,),), (), "2 runs"), (((1.0, 0.0),), (), "no time"), (((1.0, 1.0),), ((1.0, 1.0), (1.0, 1.0)), "pairs")],
)
def test_measurements_check_themselves(windows: tuple[tuple[float, ...], ...], anchors: tuple[tuple[float, float], ...], word: str) -> None:
    with pytest.raises(TargetError, match=word):
        Measurement(windows, anchors)


def test_warming_up_ends_when_runs_are_alike(clock: FakeClock) -> None:
    times = [9e-3, 5e-3, 3e-3, 1e-3, 1e-3]

    def run() -> None:
        clock.now_ns += round(1e9 * (times.pop(0) if len(times) > 1 else times[0]))

    measurement = measure(run, PROTOCOL.model_copy(update={"max_warmup_s": 1.0}))
    assert measurement.stable
    assert set(measurement.samples_s) == {1e-3}
    calls = iter(range(1, 10_000))
    uneven = measure(lambda: clock.run_of(1e-3 * (1 + next(calls) % 2))(), PROTOCOL.model_copy(update={"max_warmup_s": 0.01}))
    assert not uneven.stable
    assert "warming up" in uneven.warning


def test_a_throttled_window_is_repeated_after_a_pause(clock: FakeClock) -> None:
    hot, cool = DeviceState(throttled=("throttled",), temperature_c=85), DeviceState(temperature_c=50)
    machine = FakeMachine(clock, cool, hot, cool, cool)
    measurement = measure(clock.run_of(1e-3), PROTOCOL, clock.run_of(1e-3), machine)
    assert len(measurement.windows_s) == 3
    assert [each.reason for each in measurement.rejected] == ["the device is throttled: throttled"]
    assert machine.waited_s == [PROTOCOL.cool_down_s]
    assert "repeated" in measurement.warning
    columns = measurement.columns()
    assert set(columns["kind"]) == {0, 1, 2}
    assert len(columns["seconds"]) == len(columns["window"]) == len(columns["kind"])


def test_a_device_that_stays_throttled_is_rejected_with_the_reason(clock: FakeClock) -> None:
    machine = FakeMachine(clock, DeviceState(throttled=("under-voltage",)))
    with pytest.raises(DisturbedError, match="under-voltage"):
        measure(clock.run_of(1e-3), PROTOCOL.model_copy(update={"max_repeats": 2}), None, machine)
    assert len(machine.waited_s) == 3


def test_a_machine_that_sleeps_in_a_window_repeats_it(clock: FakeClock) -> None:
    machine = FakeMachine(clock)
    count = iter(range(10_000))

    def run() -> None:
        clock.now_ns += 1_000_000
        if next(count) == 10:
            machine.slept_ns += 3_600_000_000_000

    measurement = measure(run, PROTOCOL, None, machine)
    assert [each.reason for each in measurement.rejected] == ["the machine slept for 3.6e+03 s"]


@pytest.mark.parametrize(("step_ns", "words"), [(-5_000_000, "went backwards by"), (0, "stood still")])
def test_a_clock_that_does_not_go_forward_repeats_the_window(clock: FakeClock, step_ns: int, words: str) -> None:
    count = iter(range(10_000))

    def run() -> None:
        clock.now_ns += step_ns if next(count) == 10 else 1_000_000

    measurement = measure(run, PROTOCOL, None, FakeMachine(clock))
    assert len(measurement.rejected) == 1
    assert words in measurement.rejected[0].reason
    assert all(value > 0 for value in measurement.samples_s)


def test_a_window_between_unlike_anchors_is_repeated(clock: FakeClock) -> None:
    busy = {"now": False}
    count = iter(range(10_000))

    def run() -> None:
        busy["now"] = 8 <= next(count) < 16
        clock.run_of(1e-3)()

    def anchor() -> None:
        clock.run_of(2e-3 if busy["now"] else 1e-3)()

    measurement = measure(run, PROTOCOL, anchor, FakeMachine(clock))
    assert measurement.rejected
    assert all("something else was running" in each.reason for each in measurement.rejected)
    assert measurement.latency_s(1e-3) == pytest.approx(1e-3)


def test_a_measurement_crosses_a_line_of_json(clock: FakeClock) -> None:
    machine = FakeMachine(clock, DeviceState("performance", 1e9, 2e9, 50.0, (), 0), DeviceState(throttled=("throttled",)), DeviceState())
    measurement = measure(clock.run_of(1.234e-3), PROTOCOL, clock.run_of(1e-3), machine)
    back = Measurement.from_dict(json.loads(json.dumps(measurement.to_dict())))
    assert back.states == measurement.states
    assert back.stable == measurement.stable
    assert [each.reason for each in back.rejected] == [each.reason for each in measurement.rejected]
    assert back.latency_s() == pytest.approx(measurement.latency_s(), rel=1e-6)
    with pytest.raises(TargetError, match="no measurement"):
        Measurement.from_dict({"windows_ns": [[1, 2]]})


def test_this_machine_has_clocks() -> None:
    machine = Machine()
    assert machine.now_ns() <= machine.now_ns()
    assert machine.asleep_ns() > -1_000_000
    assert machine.state() == machine.state() or machine.state().clock_hz
    machine.wait(0)


def test_a_clock_that_only_runs_backwards_is_given_up(clock: FakeClock) -> None:
    def run() -> None:
        clock.now_ns -= 1_000_000

    with pytest.raises(DisturbedError, match="went backwards"):
        measure(run, PROTOCOL.model_copy(update={"max_repeats": 2}), run, FakeMachine(clock))


def test_a_negative_run_of_the_anchor_repeats_the_window(clock: FakeClock) -> None:
    count = iter(range(10_000))

    def anchor() -> None:
        clock.now_ns += -5_000_000 if next(count) == 3 else 1_000_000

    measurement = measure(clock.run_of(1e-3), PROTOCOL, anchor, FakeMachine(clock))
    assert "went backwards" in measurement.rejected[0].reason
    assert len(measurement.windows_s) == 3


def test_two_windows_of_many_are_too_few(clock: FakeClock) -> None:
    cool, hot = DeviceState(), DeviceState(throttled=("throttled",))
    protocol = PROTOCOL.model_copy(update={"windows": 5, "max_repeats": 3})
    with pytest.raises(DisturbedError, match="windows were disturbed and 2 were not"):
        measure(clock.run_of(1e-3), protocol, None, FakeMachine(clock, cool, cool, cool, hot))
    assert len(measure(clock.run_of(1e-3), PROTOCOL.model_copy(update={"windows": 2}), None, FakeMachine(clock)).windows_s) == 2
