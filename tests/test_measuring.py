from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from nas import measuring
from nas.config import MeasureProtocol
from nas.errors import InputError, StoppedError, UnknownNameError
from nas.events import Event
from nas.files import locked
from nas.hardware.chip import is_arm
from nas.hardware.energy_file import load_energy, save_energy
from nas.hardware.facts import Amount
from nas.hardware.host import detect_host
from nas.hardware.measurement import Measurement
from nas.hardware.profile import DeviceProfile, load_profile
from nas.hardware.roofline import roofline
from nas.hardware.rows import Row, append_row, make_row, network_hash, rows_path
from nas.hardware.session import Measured
from nas.measuring import LOCAL, choose_networks, measure_networks, quality_text, reach, refit_energy, target_to_measure
from nas.resources import data_root
from nas.space import load_space
from tests.hardware.clocks import FakeClock
from tests.hardware.devices import Board, FakeTransport
from tests.hardware.test_calibrate import CORE, TARGET
from tests.hardware.test_energy import profile_of
from tests.hardware.test_fitting import networks as some_networks

QUICK = MeasureProtocol(windows=2, window_s=0.002, min_runs=2, warmup_runs=1, max_warmup_s=0.002, max_drift=1e3, max_repeats=50)


def silent(text: str) -> None:
    del text


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def none_stop() -> bool:
    return False


@pytest.mark.skipif(is_arm(platform.machine()), reason="this machine has the architecture of the board")
def test_another_machine_is_refused_and_no_profile_is_copied(elsewhere: Path) -> None:
    pytest.importorskip("torch")
    profile, address = reach("raspberrypi4", LOCAL, silent)
    assert address == LOCAL
    networks = choose_networks(load_space("mobilenet_tiny"), profile, 4, seed=0)
    with pytest.raises(InputError, match="another architecture"):
        measure_networks(profile, address, target_to_measure(profile, None, None, None), networks, QUICK, lambda event: None, none_stop)
    assert load_profile("raspberrypi4").folder.resolve() == data_root("hw_profiles") / "raspberrypi4"
    assert not list(elsewhere.rglob("*.yaml"))


def test_a_second_process_is_kept_off(elsewhere: Path) -> None:
    pytest.importorskip("torch")
    profile = load_profile("host")
    target = target_to_measure(profile, None, None, 1)
    path = rows_path(profile.folder, target)
    with (
        locked(path.with_name(f".{path.name}.measuring"), ""),
        pytest.raises(InputError, match="host/onnxruntime/fp32/1 is being measured by another process"),
    ):
        measure_networks(profile, LOCAL, target, [], QUICK, lambda event: None, none_stop)


def test_a_new_device_on_itself_says_what_it_is(elsewhere: Path) -> None:
    told: list[str] = []
    profile, _ = reach("mychip", LOCAL, told.append)
    assert profile.name == "mychip"
    assert (elsewhere / "hw_profiles" / "mychip" / "profile.yaml").is_file()
    assert any("mychip is new" in text for text in told)


@pytest.mark.parametrize(
    ("device", "via", "error", "words"),
    [
        ("raspberypi4", None, UnknownNameError, "did you mean raspberrypi4"),
        ("raspberrypi4", None, InputError, "how is raspberrypi4 reached"),
        ("host", "ssh://pi", InputError, "a name of its own"),
        ("mychip", "carrier://pigeon", UnknownNameError, "transport 'carrier'"),
        ("raspberrypi4", "ssh://pi@board#x", InputError, "an ssh address is"),
    ],
)
def test_a_way_that_leads_nowhere(device: str, via: str | None, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        reach(device, via, silent)


def test_a_target_need_not_have_a_predictor_yet() -> None:
    profile = load_profile("raspberrypi4")
    assert target_to_measure(profile, "openvino-gpu", "int8", 2).key == "raspberrypi4/openvino-gpu/int8/2"
    with pytest.raises(UnknownNameError, match="did you mean openvino"):
        target_to_measure(profile, "openvin", None, None)
    assert target_to_measure(profile, None, None, None).runtime == profile.default.runtime
    for threads in (0, -1, 5):
        with pytest.raises(InputError, match=f"threads must be 1 to 4, got {threads}"):
            target_to_measure(profile, None, None, threads)


def test_the_ends_of_the_space_are_always_measured_and_the_choice_repeats() -> None:
    space, profile = load_space("mobilenet_tiny"), load_profile("raspberrypi4")
    chosen = choose_networks(space, profile, 8, seed=3)
    assert len(set(chosen)) == len(chosen) == 8
    assert {space.decode(space.smallest), space.decode(space.largest)} <= set(chosen)
    assert choose_networks(space, profile, 8, seed=3) == chosen


@pytest.mark.parametrize("hz", [1.2e9, 2.4e9])
def test_the_clock_of_the_moment_does_not_choose_networks(hz: float) -> None:
    space, host = load_space("mobilenetv3"), detect_host()

    def told(hz: float, kind: Literal["published", "modelled"]) -> DeviceProfile:
        clock = Amount(value=hz, kind=kind, source="a test")
        return host.model_copy(update={"chip": host.chip.model_copy(update={"clock_hz": clock})})

    chosen = choose_networks(space, told(3.5e9, "published"), 20, seed=0)
    assert choose_networks(space, told(hz, "modelled"), 20, seed=0) == chosen
    assert choose_networks(space, told(hz, "published"), 20, seed=0) != chosen


def test_what_was_measured_before_a_stop_is_kept() -> None:
    pytest.importorskip("torch")
    events: list[Event] = []
    profile, address = reach("host", None, silent)
    target = target_to_measure(profile, None, None, 1)
    networks = choose_networks(load_space("mobilenet_tiny"), profile, 4, seed=0)

    def after_two() -> bool:
        return any(event.text.startswith("2 of 4") for event in events)

    with pytest.raises(StoppedError, match=r"after \d of 4 networks"):
        measure_networks(profile, address, target, networks, QUICK, events.append, after_two)
    kept = len(list((profile.folder / "measurements").rglob("*.npz")))
    assert 2 <= kept < 4
    events.clear()
    fitted, _ = measure_networks(profile, address, target, networks, QUICK, events.append, lambda: False)
    assert fitted.measurements == 4
    assert events[0].text.startswith(f"{kept} of 4")
    assert "90 % band" in quality_text(fitted)
    assert load_profile("host").predictor(target).measurements == 4


def metered(folder: Path, version: str, day: int, energy_j: float | None, meter: str = "fake") -> list[Row]:
    """Five rows of a version, with joules where there are some."""
    measured = Measured(Measurement(((0.01, 0.01),) * 2, ((0.02, 0.02),) * 2), version, "fp32")
    rows = []
    for number, blocks in enumerate(some_networks(5)):
        row = replace(make_row(network_hash(blocks), blocks, "a", TARGET, measured), date=f"2026-01-{day:02d}T00:00:00+00:00")
        if energy_j is not None:
            row = replace(row, energy_j=energy_j * (1 + 0.1 * number), energy_scope="board", energy_meter=meter)
        append_row(rows_path(folder, TARGET), row)
        rows.append(row)
    return rows


def test_joules_of_an_older_runtime_do_not_outlive_its_latencies(elsewhere: Path) -> None:
    profile, prior, notes = profile_of(elsewhere, name="board"), roofline(CORE), list[str]()
    path = profile.energy_path(TARGET)
    metered(elsewhere, "1", 1, 0.05)
    assert refit_energy(profile, TARGET, prior, notes.append) is not None
    assert (path.is_file(), notes) == (True, [])
    metered(elsewhere, "2", 2, None)
    assert refit_energy(profile, replace(TARGET, runtime_version="2"), prior, notes.append) is None
    assert not path.exists()
    (told,) = notes
    assert f"{path.name} is removed: with version 2 of the runtime 0 network(s) have joules by fake, board" in told


def test_joules_that_still_hold_stay(elsewhere: Path) -> None:
    """Those of the same version by the meter before, and those that came with the profile."""
    profile, prior = profile_of(elsewhere, name="board"), roofline(CORE)
    path = profile.energy_path(TARGET)
    rows = metered(elsewhere, "1", 1, 0.05)
    made = refit_energy(profile, TARGET, prior)
    assert made is not None
    append_row(rows_path(elsewhere, TARGET), replace(rows[0], energy_meter="other"))
    assert refit_energy(profile, TARGET, prior) is None
    assert load_energy(path) == made
    save_energy(replace(made, meter="of its maker"), path)
    metered(elsewhere, "2", 2, None)
    assert refit_energy(profile, replace(TARGET, runtime_version="2"), prior) is None
    assert path.is_file()


def test_what_is_fitted_and_told_is_of_the_version_that_was_measured(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of that with the newest date: a board may go back to an older runtime."""
    pytest.importorskip("torch")
    profile, board = profile_of(elsewhere, name="board").model_copy(update={"chip": detect_host().chip}), Board(FakeClock())
    metered(elsewhere, "1", 1, 0.05)
    metered(elsewhere, "2", 2, None)
    monkeypatch.setattr(measuring, "open_transport", lambda address, key: FakeTransport(elsewhere / "there", board))
    for board.release, has_energy in (("1", True), ("2", False)):
        fitted, target = measure_networks(profile, LOCAL, TARGET, some_networks(5), QUICK, lambda event: None, none_stop)
        assert target == replace(TARGET, runtime_version=board.release)
        assert f"fake {board.release}" in fitted.source
        assert profile.energy_path(TARGET).is_file() is has_energy
    assert not board.opened
