from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nas.config import MeasureProtocol
from nas.errors import TargetError
from nas.hardware.measure import Measurement, measure, measure_models
from tests.hardware.clocks import FakeClock

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


class FakeRuntime:
    """Models are files that hold their seconds."""

    name = "fake"

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock

    def version(self) -> str:
        return "1"

    def precisions(self) -> tuple[str, ...]:
        return ("fp32",)

    @contextmanager
    def open(self, model: Path, threads: int) -> Iterator[Callable[[], None]]:
        yield self.clock.run_of(float(model.read_text()))


def test_models_are_measured_against_one_another(clock: FakeClock, tmp_path: Path) -> None:
    paths = []
    for number, seconds in enumerate((1e-3, 2e-3, 4e-3)):
        paths.append(tmp_path / f"{number}.onnx")
        paths[-1].write_text(str(seconds))
    told: list[str] = []
    metrics = measure_models(paths, FakeRuntime(clock), PROTOCOL, lambda number, total, name: told.append(f"{number}/{total} {name}"))
    assert [metric.value for metric in metrics] == pytest.approx([1e-3, 2e-3, 4e-3])
    assert {metric.source for metric in metrics} == {"measured"}
    assert told == ["0/3 0.onnx", "1/3 1.onnx", "2/3 2.onnx"]
    (alone,) = measure_models(paths[:1], FakeRuntime(clock), PROTOCOL)
    assert alone.value == pytest.approx(1e-3)
    assert measure_models([], FakeRuntime(clock), PROTOCOL) == []
