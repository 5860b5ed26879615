from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import pytest

from nas.config import EnergyProtocol
from nas.errors import InputError, MeterError, ProfileError
from nas.hardware import jobs as jobs_module
from nas.hardware.calibrate import calibrate, fit_energy_rows
from nas.hardware.metering import Metering
from nas.hardware.meters import EnergyMeter
from nas.hardware.meters.loading import AUTO, MeterStatus
from nas.hardware.roofline import roofline
from nas.hardware.rows import Row, append_row, read_rows, rows_path
from nas.hardware.session import Session
from nas.hardware.transports.local import LocalTransport
from nas.target import Target
from tests.hardware.clocks import FakeClock
from tests.hardware.devices import Board, FakeTransport
from tests.hardware.models import write_model
from tests.hardware.test_calibrate import CORE, PROTOCOL, TARGET, export
from tests.hardware.test_fitting import networks
from tests.hardware.test_measure_energy import FakeMeter

ENERGY = EnergyProtocol(windows=2, window_s=0.5, idle_s=0.5)
METERING = Metering(AUTO, 20.0, ENERGY)


@pytest.fixture
def board() -> Board:
    return Board(FakeClock())


@pytest.fixture(autouse=True)
def a_meter_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device says that it has one."""
    monkeypatch.setattr(jobs_module, "meter_names", lambda: ["csv", "fake"])
    known = {"csv": MeterStatus("csv", "input", False, "needs a file", False), "fake": MeterStatus("fake", "board", True, "", True)}
    known |= {spec: MeterStatus(spec.split(":")[0], "board", True, "", False) for spec in ("fake:rail", "csv:mon.csv", "csv:tue.csv")}
    monkeypatch.setattr(jobs_module, "meter_status", lambda spec: known[spec])


def measured(folder: Path, board: Board, count: int, *watts: float | str, metering: Metering = METERING) -> tuple[list[Row], list[str]]:
    transport, notes = FakeTransport(folder / "there", board), list[str]()

    def opened(spec: str) -> EnergyMeter:
        return FakeMeter(board.clock, *watts)

    transport.meter = opened
    calibrate(
        folder, TARGET, networks(count), export, PROTOCOL, roofline(CORE), transport=transport, on_note=notes.append, metering=metering
    )
    assert not list((folder / "there" / "results").iterdir())
    return read_rows(rows_path(folder, TARGET), TARGET), notes


def test_energy_is_measured_beside_latency_and_kept_with_it(board: Board, tmp_path: Path) -> None:
    rows, notes = measured(tmp_path, board, 5, *[2.0, 5.0, 2.0, 5.0, 2.0] * 5)
    assert notes == ["energy is metered by fake: board"]
    for row in rows:
        assert row.energy_j == pytest.approx(5.0 * row.median_s, rel=1e-6)
        assert row.energy_net_j == pytest.approx(3.0 * row.median_s, rel=1e-6)
        assert (row.energy_scope, row.energy_meter, row.energy_idle_w) == ("board", "fake", 2.0)
        assert row.energy_window_s is not None
        assert row.energy_window_s >= 0.5
        assert len(row.energy_windows_j.split()) == 2
        assert row.energy_cv == pytest.approx(0.0, abs=1e-9)
    fitted = fit_energy_rows(rows, TARGET, roofline(CORE))
    assert fitted is not None
    assert (fitted.scope, fitted.meter) == ("board", "fake")


def test_networks_that_were_measured_without_get_their_energy_later(board: Board, tmp_path: Path) -> None:
    before, notes = measured(tmp_path, board, 5, metering=Metering("off"))
    assert not notes
    assert {row.energy_j for row in before} == {None}
    opened = board.opened
    after, _ = measured(tmp_path, board, 5, *[2.0, 5.0, 2.0, 5.0, 2.0] * 5)
    assert [(row.network, row.ratio) for row in after] == [(row.network, row.ratio) for row in before]
    assert all(row.energy_j for row in after)
    assert board.opened - opened == 5
    opened = board.opened
    measured(tmp_path, board, 5, 2.0)
    assert board.opened == opened


def test_a_meter_that_dies_costs_energies_only(board: Board, tmp_path: Path) -> None:
    rows, notes = measured(tmp_path, board, 5, *[2.0, 5.0, 2.0, 5.0, 2.0] * 2, 2.0, 5.0, "unplugged")
    assert [row.energy_j is None for row in rows] == [False, False, True, True, True]
    assert any("not metered any more" in note and "unplugged" in note for note in notes)


class Uneven(Board):
    """Every other run takes twice as long."""

    @contextmanager
    def open(self, model: Path, threads: int) -> Iterator[Callable[[], None]]:
        with super().open(model, threads) as run:
            times = cycle((1, 2))

            def uneven() -> None:
                for _ in range(next(times)):
                    run()

            yield uneven


def test_what_is_wrong_with_a_measurement_is_told(tmp_path: Path) -> None:
    rows, notes = measured(tmp_path, Uneven(FakeClock()), 4, *[2.0, 4.0, 2.0, 6.0, 2.0] * 4)
    for row in rows:
        about = [note for note in notes if note.startswith(f"network {row.network}: ")]
        assert about == [f"network {row.network}: {row.warning}", f"network {row.network}: {row.energy_warning}"]
        assert "IQR is 67% of the median: the machine was busy" in row.warning
        assert "energy varies by 28% from window to window" in row.energy_warning


def test_a_network_whose_joules_cannot_be_has_none(board: Board, tmp_path: Path) -> None:
    rows, notes = measured(tmp_path, board, 4, *[2.0, 50.0] * 6, 2.0, *[2.0, 5.0, 2.0, 5.0, 2.0] * 3)
    assert [row.energy_j is None for row in rows] == [True, False, False, False]
    assert any("has no energy" in note and "more than the 20 W" in note for note in notes)


def test_a_meter_that_was_asked_for_must_work(board: Board, tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="csv does not work there: needs a file"):
        measured(tmp_path, board, 4, metering=Metering("csv"))


def test_old_files_are_read_and_joules_without_a_scope_refused(board: Board, tmp_path: Path) -> None:
    rows, _ = measured(tmp_path, board, 4, metering=Metering("off"))
    path = rows_path(tmp_path, TARGET)
    lines = path.read_text().splitlines()
    assert lines[0].endswith("energy_warning")
    path.write_text("\n".join([lines[0].split(",energy_j")[0], *(line.removesuffix("," * 9) for line in lines[1:])]) + "\n")
    assert read_rows(path, TARGET) == rows
    append_row(path, dataclasses.replace(rows[0], energy_j=0.1))
    with pytest.raises(ProfileError, match="needs energy_scope and energy_meter"):
        read_rows(path, TARGET)


def test_joules_of_two_scopes_are_never_fitted_together(board: Board, tmp_path: Path) -> None:
    rows, _ = measured(tmp_path, board, 6, *[2.0, 5.0, 2.0, 5.0, 2.0] * 6)
    mixed = [dataclasses.replace(row, energy_scope="package", date="2020-01-01T00:00:00+00:00") for row in rows[:3]] + rows[3:]
    assert fit_energy_rows(mixed, TARGET, roofline(CORE)) is None


def test_another_meter_that_is_named_measures_again(board: Board, tmp_path: Path) -> None:
    measured(tmp_path, board, 5, *[2.0, 5.0, 2.0, 5.0, 2.0] * 5)
    before, _ = measured(tmp_path, board, 5)  # "auto": the joules that are there will do
    assert {row.energy_meter for row in before} == {"fake"}
    other = Metering("fake:rail", 20.0, ENERGY)
    after, _ = measured(tmp_path, board, 4, *[2.0, 8.0, 2.0, 8.0, 2.0] * 4, metering=other)
    assert [(row.energy_meter, row.energy_j) for row in after[:1]] == [(before[4].energy_meter, before[4].energy_j)]
    assert {row.energy_meter for row in after[1:]} == {"fake:rail"}
    assert [row.energy_j for row in after[1:]] == pytest.approx([8.0 * row.median_s for row in before[:4]], rel=1e-6)
    assert [row.ratio for row in after[1:]] == [row.ratio for row in before[:4]]
    notes: list[str] = []
    fitted = fit_energy_rows(after, TARGET, roofline(CORE), notes.append)
    assert fitted is not None
    assert (fitted.meter, fitted.model.measurements) == ("fake:rail", 4)
    assert len(notes) == 1
    assert "joules of 1 network(s) are left out" in notes[0]
    opened = board.opened
    measured(tmp_path, board, 4, 2.0, metering=other)
    assert board.opened == opened


def test_another_day_s_file_is_the_same_instrument(board: Board, tmp_path: Path) -> None:
    for day, count in (("mon", 4), ("tue", 8)):
        rows, _ = measured(tmp_path, board, count, *[2.0, 5.0, 2.0, 5.0, 2.0] * 4, metering=Metering(f"csv:{day}.csv", 20.0, ENERGY))
    assert [row.energy_meter for row in rows] == ["csv:mon.csv"] * 4 + ["csv:tue.csv"] * 4
    notes: list[str] = []
    fitted = fit_energy_rows(rows, TARGET, roofline(CORE), notes.append)
    assert fitted is not None
    assert (fitted.meter, fitted.model.measurements) == ("csv", 8)
    assert not notes


def test_a_real_runner_meters_a_real_model_by_recorded_readings(tmp_path: Path) -> None:
    readings = tmp_path / "readings.json"
    readings.write_text(json.dumps({"scope": "board", "watts": [2.0, 5.0]}))
    target = Target("host", "onnxruntime", "1", "fp32", 1)
    with Session(LocalTransport(), lambda text: None) as session:
        (status,) = session.meters(f"replay:{readings}")
        assert status["works"]
        assert {each["name"] for each in session.meters()} >= {"rapl", "hwmon", "pmic", "nvml", "csv"}
        model = write_model(tmp_path / "tiny.onnx")
        protocol = EnergyProtocol(windows=2, window_s=0.5, idle_s=0.5, max_repeats=0)
        found = session.measure_energy("a", model, target, protocol, f"replay:{readings}", 20.0)
        assert found.meter == f"replay:{readings}"
        assert found.scope == "board"
        assert found.net_j == pytest.approx(0.6 * found.energy_j, rel=0.2)
        with pytest.raises(InputError, match="unknown energy meter"):
            session.meters("volts")
        with pytest.raises(MeterError, match="is no"):
            session.measure_energy("b", model, target, protocol, f"replay:{tmp_path / 'tiny.onnx'}", 20.0)
