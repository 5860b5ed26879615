from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml

from nas.architecture import BlockSpec
from nas.config import MeasureProtocol
from nas.errors import InputError, ProfileError, TargetError, UnknownNameError
from nas.hardware import calibrate as calibrate_module
from nas.hardware import rows as rows_module
from nas.hardware.calibrate import MOST_REFUSED, calibrate, fit_rows
from nas.hardware.device_state import DeviceState
from nas.hardware.host import detect_host
from nas.hardware.newcomer import copy_shipped
from nas.hardware.profile import parse_profile
from nas.hardware.roofline import CoreFacts, roofline
from nas.hardware.rows import network_hash, read_rows, rows_path, runs_path
from nas.hardware.session import Patience, Session
from nas.resources import data_root
from nas.target import Target
from tests.hardware.clocks import FakeClock
from tests.hardware.devices import Board, FakeTransport
from tests.hardware.test_fitting import networks

TARGET = Target("board", "fake", "1", "fp32", 1)
CORE = CoreFacts(1.5e9, 4.0, 4.6e9)
PROTOCOL = MeasureProtocol(windows=2, window_s=1e-4, min_runs=2, warmup_runs=1)
THROTTLED = DeviceState(throttled=("throttled",))


def export(blocks: Sequence[BlockSpec], path: Path) -> None:
    """A device a tenth as fast as the roofline."""
    path.write_text(str(10 * roofline(CORE).predict(blocks).value))


@pytest.fixture
def board() -> Board:
    return Board(FakeClock())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is away is asked again at once."""
    monkeypatch.setattr(calibrate_module, "Session", lambda transport, note: Session(transport, note, Patience(pauses_s=(0.0,) * 5)))


def measured(folder: Path) -> list[str]:
    return [row.network for row in read_rows(rows_path(folder, TARGET), TARGET)]


def test_a_calibration_learns_the_device(board: Board, tmp_path: Path) -> None:
    nets = networks(8)
    told: list[tuple[int, int, str]] = []
    transport = FakeTransport(tmp_path / "there", board)
    predictor, version = calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE), lambda *event: told.append(event), transport)
    for net in networks(12)[8:]:
        assert predictor.predict(net).value == pytest.approx(10 * roofline(CORE).predict(net).value, rel=1e-3)
    rows = read_rows(rows_path(tmp_path, TARGET), TARGET)
    assert version == rows[0].runtime_version == "1"
    assert [row.network for row in rows] == [network_hash(net) for net in nets]
    assert [row.specs() for row in rows] == nets
    assert {row.target for row in rows} == {TARGET.key}
    assert {row.precision for row in rows} == {"fp32"}
    assert told[0] == (0, 8, "anchor")
    assert told[-1] == (8, 8, "fit")
    assert transport.closed
    assert not transport.kept
    # Models and answers are not left on the device.
    assert not list((tmp_path / "there" / "results").iterdir())
    assert len(list((tmp_path / "there" / "models").iterdir())) == 1  # the anchor


def test_every_run_is_kept_beside_the_summary(board: Board, tmp_path: Path) -> None:
    nets = networks(5)
    calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE), transport=FakeTransport(tmp_path / "there", board))
    for row in read_rows(rows_path(tmp_path, TARGET)):
        with np.load(runs_path(tmp_path, TARGET, row.network, "1"), allow_pickle=False) as runs:
            seconds = runs["seconds"][runs["kind"] == 0]
            assert len(seconds) == row.runs
            assert float(np.median(seconds)) == pytest.approx(row.median_s, rel=1e-9)
            assert len(np.unique(runs["window"][runs["kind"] == 1])) == PROTOCOL.windows + 1


def test_a_calibration_goes_on_where_it_stopped(board: Board, tmp_path: Path) -> None:
    nets = networks(3 + MOST_REFUSED)
    board.fails_at = 5  # the anchor and three networks went well
    with pytest.raises(TargetError, match="gone"):
        calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE), transport=FakeTransport(tmp_path / "a", board))
    assert len(measured(tmp_path)) == 3
    board.opened = board.fails_at = 0
    calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE), transport=FakeTransport(tmp_path / "b", board))
    assert board.opened == 1 + MOST_REFUSED
    board.opened = 0
    calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE), transport=FakeTransport(tmp_path / "c", board))
    assert board.opened == 0
    assert measured(tmp_path) == [network_hash(net) for net in nets]
    assert len({row.anchor for row in read_rows(rows_path(tmp_path, TARGET))}) == 1


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 8))  # inspect is 0; then measure and forget in turn
def test_a_broken_connection_loses_nothing_and_counts_nothing_twice(board: Board, tmp_path: Path, side: str, number: int) -> None:
    nets = networks(5)
    transport = FakeTransport(tmp_path / "there", board, {(number, side)}, away=2)
    notes: list[str] = []
    calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE), transport=transport, on_note=notes.append)
    assert measured(tmp_path) == [network_hash(net) for net in nets]
    assert transport.connections == 2
    assert any("cable" in note for note in notes)
    # The job whose answer was lost was measured once: its second answer came from the file.
    anchors_opened = 2
    assert board.opened - anchors_opened <= len(nets)


def test_a_device_that_stays_away_is_given_up_and_found_again(board: Board, tmp_path: Path) -> None:
    nets = networks(5)
    transport = FakeTransport(tmp_path / "there", board, {(3, "before")}, away=99)
    with pytest.raises(TargetError, match="gave up"):
        calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE), transport=transport)
    assert len(measured(tmp_path)) == 1
    calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE), transport=FakeTransport(tmp_path / "there", board))
    assert len(measured(tmp_path)) == 5


def test_an_answer_that_cannot_be_saved_stays_on_the_device(board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nets = networks(5)
    original = rows_module.write_atomic

    def full(path: Path, data: str) -> None:
        raise InputError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr(rows_module, "write_atomic", full)
    transport = FakeTransport(tmp_path / "there", board)
    with pytest.raises(InputError, match="No space"):
        calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE), transport=transport)
    assert transport.kept
    assert len(list((tmp_path / "there" / "results").iterdir())) == 1
    monkeypatch.setattr(rows_module, "write_atomic", original)
    board.opened = 0
    calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE), transport=FakeTransport(tmp_path / "there", board))
    assert len(measured(tmp_path)) == 5
    assert board.opened == 1 + 4  # the first network's answer came from the file


def test_a_disturbed_network_is_left_out_and_tried_again_later(board: Board, tmp_path: Path) -> None:
    nets = networks(6)
    transport = FakeTransport(tmp_path / "there", board)
    transport.machine.states = [THROTTLED] * 24 + [DeviceState()]
    notes: list[str] = []
    calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE), transport=transport, on_note=notes.append)
    assert len(measured(tmp_path)) == 5
    assert any("left out" in note and "throttled" in note for note in notes)
    calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE), transport=FakeTransport(tmp_path / "there", board))
    assert sorted(measured(tmp_path)) == sorted(network_hash(net) for net in nets)


def test_a_network_that_the_device_refuses_is_left_out_and_tried_again_later(board: Board, tmp_path: Path) -> None:
    """Its memory is too small for the largest: the others are measured."""
    nets, notes = networks(8), list[str]()
    *_, board.limit_s, largest = sorted(10 * roofline(CORE).predict(net).value for net in nets)
    transport = FakeTransport(tmp_path / "there", board)
    fitted, _ = calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE), transport=transport, on_note=notes.append)
    assert fitted.measurements == len(measured(tmp_path)) == 7
    (note,) = notes
    assert "is left out: fake://board: " in note
    assert "bad_alloc" in note
    board.limit_s = largest
    calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE), transport=FakeTransport(tmp_path / "there", board))
    assert sorted(measured(tmp_path)) == sorted(network_hash(net) for net in nets)


def test_what_does_not_run_natively_is_said_before_anything_is_measured(board: Board, tmp_path: Path) -> None:
    board.foreign = ("3 Swish by a reference kernel",)
    said: list[str] = []
    progress: list[int] = []

    def note(text: str) -> None:
        said.append(text)
        assert board.opened == 0

    calibrate(
        tmp_path, TARGET, networks(4), export, PROTOCOL, roofline(CORE), lambda done, total, what: progress.append(done),
        FakeTransport(tmp_path / "there", board), note,
    )  # fmt: skip
    assert said == ["fake does not run natively: 3 Swish by a reference kernel"]
    assert {row.foreign for row in read_rows(rows_path(tmp_path, TARGET))} == {"3 Swish by a reference kernel"}


def test_another_precision_than_the_one_asked_for_is_refused(board: Board, tmp_path: Path) -> None:
    int8 = Target("board", "fake", "1", "int8", 1)
    with pytest.raises(InputError, match="runs fp32, not int8"):
        calibrate(tmp_path, int8, networks(4), export, PROTOCOL, roofline(CORE), transport=FakeTransport(tmp_path / "there", board))
    board.precision = "bf16"
    with pytest.raises(TargetError, match="in bf16, not in fp32"):
        calibrate(tmp_path, TARGET, networks(4), export, PROTOCOL, roofline(CORE), transport=FakeTransport(tmp_path / "there", board))
    absent = Target("board", "openvino", "1", "fp32", 1)
    with pytest.raises(TargetError, match=r"run there: /home/pi/\.hwnas/bin/python -m pip install openvino"):
        calibrate(tmp_path, absent, networks(4), export, PROTOCOL, roofline(CORE), transport=FakeTransport(tmp_path / "there", board))
    typo = Target("board", "openvin", "1", "fp32", 1)
    with pytest.raises(UnknownNameError, match="did you mean openvino"):
        calibrate(tmp_path, typo, networks(4), export, PROTOCOL, roofline(CORE), transport=FakeTransport(tmp_path / "there", board))
    assert board.opened == 0


def test_a_part_of_the_hardware_has_precisions_of_its_own(board: Board, tmp_path: Path) -> None:
    transport = FakeTransport(tmp_path / "there", board)
    with Session(transport, lambda text: None) as session:
        assert session.version("fake-gpu", "fp32") == "1"
        assert transport.asked[-1]["runtime"] == "fake-gpu"
        board.known = ("bf16",)
        assert session.version("fake", "fp32") == "1"  # told when it said hello
        with pytest.raises(InputError, match="fake-gpu on fake://board runs bf16, not fp32"):
            session.version("fake-gpu", "fp32")


def test_a_network_that_ran_in_another_precision_is_left_out(board: Board, tmp_path: Path) -> None:
    board.odd = 3  # the anchor's inspection, a network, this one
    notes: list[str] = []
    transport = FakeTransport(tmp_path / "there", board)
    calibrate(tmp_path, TARGET, networks(6), export, PROTOCOL, roofline(CORE), transport=transport, on_note=notes.append)
    assert len(measured(tmp_path)) == 5
    assert notes == [f"network {network_hash(networks(6)[1])} is left out: fake runs it in bf16, not in fp32"]


def test_another_version_s_runs_are_kept(board: Board, tmp_path: Path) -> None:
    nets = networks(4)
    for board.release in ("1", "2/b"):
        calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE), transport=FakeTransport(tmp_path / "there", board))
    names = {path.name for path in runs_path(tmp_path, TARGET, "x", "1").parent.iterdir()}
    assert names == {f"{network_hash(net)}-{version}.npz" for net in nets for version in ("1", "2_b")}


def test_a_bad_earlier_row_stops_it_or_is_left_out(board: Board, tmp_path: Path) -> None:
    nets = networks(6)
    calibrate(tmp_path, TARGET, nets[:5], export, PROTOCOL, roofline(CORE), transport=FakeTransport(tmp_path / "there", board))
    path = rows_path(tmp_path, TARGET)
    path.write_text(path.read_text() + "half a row\n")
    with pytest.raises(ProfileError, match=r"line 7.*--skip-bad"):
        calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE), transport=FakeTransport(tmp_path / "there", board))
    notes: list[str] = []
    transport = FakeTransport(tmp_path / "there", board)
    fitted, _ = calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE), None, transport, notes.append, skip_bad=True)
    assert fitted.measurements == 6
    assert len(notes) == 1
    assert "line 7 left out" in notes[0]
    assert "half a row\n" in path.read_text()


def test_a_shipped_profile_is_copied_with_the_first_row(board: Board, tmp_path: Path) -> None:
    shipped = data_root("hw_profiles") / "raspberrypi4"
    chip = {**detect_host().chip.model_dump(exclude_none=True), "cores": {"value": 4, "source": "a test"}}
    profile = parse_profile({**yaml.safe_load((shipped / "profile.yaml").read_text()), "chip": chip}, shipped, "a test")
    folder = tmp_path / "hw_profiles" / "raspberrypi4"
    for board.fails_at in (2, 0):  # the anchor opens, the first network does not
        transport = FakeTransport(tmp_path / "there", board)
        with suppress(InputError):  # nothing was measured
            calibrate(folder, TARGET, networks(4), export, PROTOCOL, roofline(CORE), transport=transport, profile=profile)
        assert (folder / "profile.yaml").exists() == (board.fails_at == 0)
    assert len(measured(folder)) == 4
    (folder / "profile.yaml").write_text("mended")
    copy_shipped(profile, folder)
    assert (folder / "profile.yaml").read_text() == "mended"


def test_too_few_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="4"):
        calibrate(tmp_path, TARGET, networks(1) * 5, export, PROTOCOL, roofline(CORE))
    with pytest.raises(InputError, match="at least 4"):
        fit_rows([], TARGET, roofline(CORE))
