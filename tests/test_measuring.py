from __future__ import annotations

from pathlib import Path

import pytest

from nas.config import MeasureProtocol
from nas.errors import InputError, StoppedError, UnknownNameError
from nas.events import Event
from nas.hardware.profile import load_profile
from nas.measuring import LOCAL, choose_networks, measure_networks, quality_text, reach, target_to_measure
from nas.space import load_space

QUICK = MeasureProtocol(windows=2, window_s=0.002, min_runs=2, warmup_runs=1, max_warmup_s=0.002, max_drift=1e3, max_repeats=50)


def silent(text: str) -> None:
    del text


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_shipped_profile_is_copied_before_anything_is_written_to_it(elsewhere: Path) -> None:
    profile, address = reach("raspberrypi4", LOCAL, silent)
    assert address == LOCAL
    assert profile.folder == elsewhere / "hw_profiles" / "raspberrypi4"
    assert load_profile("raspberrypi4").folder.resolve() == profile.folder


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
    ],
)
def test_a_way_that_leads_nowhere(device: str, via: str | None, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        reach(device, via, silent)


def test_a_target_need_not_have_a_predictor_yet() -> None:
    profile = load_profile("raspberrypi4")
    assert target_to_measure(profile, "tflite", "int8", 2).key.startswith("raspberrypi4")
    assert target_to_measure(profile, None, None, None).runtime == profile.default.runtime
    with pytest.raises(InputError, match="threads must be 1 to 4, got 5"):
        target_to_measure(profile, None, None, 5)


def test_the_ends_of_the_space_are_always_measured_and_the_choice_repeats() -> None:
    space, profile = load_space("mobilenet_tiny"), load_profile("raspberrypi4")
    chosen = choose_networks(space, profile, 8, seed=3)
    assert len(set(chosen)) == len(chosen) == 8
    assert {space.decode(space.smallest), space.decode(space.largest)} <= set(chosen)
    assert choose_networks(space, profile, 8, seed=3) == chosen


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
    fitted = measure_networks(profile, address, target, networks, QUICK, events.append, lambda: False)
    assert fitted.measurements == 4
    assert events[0].text.startswith(f"{kept} of 4")
    assert "90 % band" in quality_text(fitted)
    assert load_profile("host").predictor(target).measurements == 4
