from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.errors import InputError, ProfileError, UnknownNameError
from nas.hardware.facts import Chip
from nas.hardware.profile import Power, load_profile, parse_profile, profile_names
from nas.resources import data_root


@pytest.fixture
def raw() -> dict[str, Any]:
    data = yaml.safe_load((data_root("hw_profiles") / "raspberrypi4" / "profile.yaml").read_text(encoding="utf-8"))
    assert isinstance(data, dict)
    return data


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_can_be_used(name: str) -> None:
    profile = load_profile(name)
    target = profile.target()
    predictor = profile.predictor(target)
    assert profile.name == target.device == name
    assert predictor.thread_counts()
    assert profile.power is not None
    assert profile.power.at(target.threads) > 0
    assert profile.unknown, "no device is known wholly"
    for runtime, entry in profile.runtimes.items():
        for precision in entry.precisions:
            assert profile.target(runtime, precision).precision == precision


@pytest.mark.parametrize("alias", ["rpi4", "pi4", "raspberry-pi-4", "RPi4"])
def test_aliases_are_resolved(alias: str) -> None:
    assert load_profile(alias).name == "raspberrypi4"


@pytest.mark.parametrize(("name", "near"), [("rasberrypi4", "raspberrypi4"), ("pixl3", "pixel3"), ("rpi", "rpi4"), ("hots", "host")])
def test_an_unknown_device_names_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UnknownNameError, match=near):
        load_profile(name)


def test_a_folder_and_a_file_are_names_too(tmp_path: Path) -> None:
    shutil.copytree(data_root("hw_profiles") / "pixel3", tmp_path / "pixel3")
    for given in (tmp_path / "pixel3", tmp_path / "pixel3" / "profile.yaml"):
        profile = load_profile(str(given))
        assert profile.folder == tmp_path / "pixel3"
        assert profile.predictor(profile.target()).measurements > 100


def test_the_folder_that_one_is_in_is_a_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(data_root("hw_profiles") / "pixel3", tmp_path / "pixel3")
    (tmp_path / "pixel3" / "measurements").mkdir(exist_ok=True)
    for inside, given in ((".", "."), ("measurements", ".."), (".", "profile.yaml"), (".", "../pixel3")):
        monkeypatch.chdir(tmp_path / "pixel3" / inside)
        assert load_profile(given).name == "pixel3"


def test_an_alias_beside_a_file_of_its_name_is_an_alias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rpi4").write_text("notes")
    (tmp_path / "pi4").mkdir()
    assert load_profile("rpi4").name == load_profile("pi4").name == "raspberrypi4"


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    shutil.copytree(data_root("hw_profiles") / "pixel3", tmp_path / "pixel3")
    path = tmp_path / "pixel3" / "profile.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(f"{text}title: another\n", encoding="utf-8")
    lines = text.splitlines()
    first = 1 + [line.startswith("title:") for line in lines].index(True)
    with pytest.raises(ProfileError, match=rf"'title' stands twice, first in line {first} .*line {len(lines) + 1},"):
        load_profile(str(path))


def test_the_user_s_own_profiles_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: dict[str, Any]) -> None:
    folder = tmp_path / "hw_profiles" / "myboard"
    folder.mkdir(parents=True)
    (folder / "profile.yaml").write_text(yaml.safe_dump({**raw, "name": "myboard", "aliases": ["mine", "rpi4"], "predictors": []}))
    (tmp_path / "hw_profiles" / "broken").mkdir()
    (tmp_path / "hw_profiles" / "broken" / "profile.yaml").write_text("aliases: {")
    monkeypatch.chdir(tmp_path)
    profile = load_profile("mine")
    assert load_profile("rpi4").name == "myboard"  # an alias of raspberrypi4 too
    assert "myboard" in profile_names()
    # Nothing measured: a roofline, and it says so.
    predictor = profile.predictor(profile.target(threads=4))
    assert predictor.measurements == 0
    assert predictor.threads == 4
    with pytest.raises(ProfileError, match=r"broken.*not valid YAML"):
        load_profile("broken")


def test_a_target_is_refused_where_nothing_is_known() -> None:
    profile = load_profile("raspberrypi4")
    with pytest.raises(InputError, match="int8"):
        profile.target(precision="int8")
    with pytest.raises(UnknownNameError, match="did you mean onnxruntime"):
        profile.target(runtime="onxruntime")
    with pytest.raises(InputError, match="4 cores"):
        profile.target(threads=5)
    with pytest.raises(InputError, match="threads"):
        profile.target(threads=0)
    with pytest.raises(InputError, match="1 thread"):
        load_profile("pixel3").target(threads=4)
    assert profile.target(threads=4).key == "raspberrypi4/onnxruntime/fp32/4"


def test_a_target_of_another_device_is_refused() -> None:
    with pytest.raises(InputError, match="pixel3"):
        load_profile("raspberrypi4").predictor(load_profile("pixel3").target())


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("titel",), "x", "titel: unknown key: did you mean title"),
        (("chip", "clock"), 1, "chip.clock: unknown key: did you mean clock_hz"),
        (("chip", "clock_hz", "sauce"), "x", "did you mean source"),
        (("chip", "clock_hz", "value"), -1, "chip.clock_hz.value.*-1"),
        (("chip", "clock_hz", "value"), 1800, r"chip.clock_hz: 1800 Hz cannot be, .*: if that is in MHz, write 1.8e\+09"),
        (("chip", "clock_hz", "value"), 1.8e6, "if that is in kHz, write 1.8e"),
        (("chip", "memory_bytes_per_s", "value"), 4.6, r"chip.memory_bytes_per_s: 4.6 bytes/s cannot be.* in GB, write 4.6e\+09"),
        (("chip", "memory_bytes", "value"), 4096, r"chip.memory_bytes: .* in MB, write 4.096e\+09"),
        (("chip", "memory_bytes", "value"), 1e300, "1e.300 bytes cannot be, it is 200000 to 1e.14, got"),
        (("chip", "cores"), 4, "chip.cores"),
        (("schema",), 2, "schema"),
        (("runtimes", "onnxruntime", "precisions"), ["fp23"], "fp23"),
        (("default", "runtime"), "tflite", "tflite"),
        (("default", "precision"), "int8", "int8"),
        (("default", "threads"), 8, "8"),
        (("power", "watts"), {0: 5.0, 4: 2.0}, "not fall"),
        (("power", "watts"), {1: 5.0, 4: 6.0}, "idle"),
        (("power", "wats"), {}, "did you mean watts"),
        (("predictors", 0, "runtime"), "tflite", "any runtime"),
        (("predictors", 0, "fil"), "x.json", "did you mean file"),
        (("predictors", 0, "file"), "../x.json", "predictors.0.file"),
        (("name",), "Not A Name", "name"),
        (("runtimes", "../../x"), {"version": "1", "precisions": ["fp32"]}, "runtimes.*\\.\\./x"),
    ],
)
def test_a_typo_is_named_with_its_key_and_value(raw: dict[str, Any], keys: tuple[Any, ...], value: object, words: str) -> None:
    owner = raw
    for key in keys[:-1]:
        owner = owner[key]
    owner[keys[-1]] = value
    with pytest.raises(ProfileError, match=f"^profile.yaml: .*{words}"):
        parse_profile(raw, Path(), "profile.yaml")


@pytest.mark.parametrize(("name", "value"), [("clock_hz", 6.4e7), ("memory_bytes", 262_144), ("memory_bytes_per_s", 2.2e13)])
def test_microcontrollers_and_stacked_memory_are_in_their_units(raw: dict[str, Any], name: str, value: float) -> None:
    chip = Chip.model_validate({**raw["chip"], name: {"value": value, "source": "data sheet"}})
    assert getattr(chip, name).value == value


def test_a_profile_in_a_folder_of_another_name_is_refused(tmp_path: Path) -> None:
    shutil.copytree(data_root("hw_profiles") / "pixel3", tmp_path / "pixel4")
    with pytest.raises(ProfileError, match="pixel4"):
        load_profile(str(tmp_path / "pixel4"))


def test_the_predictor_of_own_measurements_comes_first(tmp_path: Path) -> None:
    shutil.copytree(data_root("hw_profiles") / "pixel3", tmp_path / "pixel3")
    profile = load_profile(str(tmp_path / "pixel3"))
    target = profile.target()
    shutil.copy(data_root("hw_profiles") / "raspberrypi4" / "prior-fp32.json", profile.predictor_path(target))
    assert profile.predictor(target).speedup is not None


def test_watts_are_interpolated() -> None:
    power = Power(watts={0: 2.7, 4: 6.4}, source="made up")
    assert [round(power.at(count), 3) for count in (0, 1, 2, 4, 9)] == [2.7, 3.625, 4.55, 6.4, 6.4]


def test_watts_of_another_precision_are_its_own_where_they_are_known() -> None:
    power = Power(watts={0: 2.0, 4: 6.0}, by_precision={"int8": {1: 3.5, 4: 8.0}}, source="made up")
    assert [power.at(count, "int8") for count in (0, 1, 2, 4, 9)] == [2.0, 3.5, 5.0, 8.0, 8.0]
    assert [power.at(4), power.at(4, "fp16")] == [6.0, 6.0]
    assert [power.says(precision) for precision in ("fp32", "int8", "fp16")] == [True, True, False]
    assert power.limit_w == 24.0
    for own, words in (({"int9": {1: 3.0}}, "in fp16, bf16, int8, got 'int9'"), ({"int8": {}}, "got 'int8': {}"),
                       ({"int8": {1: 1.0}}, "not fall with busy cores"), ({"int8": {0: 3.0}}, "greater than or equal to 1")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            Power(watts={0: 2.0, 4: 6.0}, by_precision=own, source="made up")
