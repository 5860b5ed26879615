"""nas devices add and check; list and show are in test_results.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nas.resources import data_root
from tests.cli.conftest import Nas


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_device_is_added_once_and_checked(nas: Nas, elsewhere: Path) -> None:
    added = nas("devices", "add", "mychip", "--via", "local", "--json").json
    assert added["address"] == "local"
    assert Path(added["profile"]) == elsewhere / "hw_profiles" / "mychip" / "profile.yaml"
    again = nas("devices", "add", "mychip", "--via", "local")
    assert again.code == 2
    assert "known already" in again.err
    assert "mychip" in nas("devices", "list").out
    checked = nas("devices", "check", "mychip", "--via", "local", "--json").json
    assert checked["there"]["runtimes"]["onnxruntime"]["precisions"] == ["fp32", "int8"]
    targets = {(each["runtime"], each["precision"]): each for each in checked["targets"]}
    assert targets["onnxruntime", "fp32"]["band_factor"] == 3.0
    assert "no int8 measurements" in targets["onnxruntime", "int8"]["why"]


def test_a_profile_is_checked_without_its_device(nas: Nas) -> None:
    ended = nas("devices", "check", "pi4")
    assert ended.code == 0
    assert "raspberrypi4" in ended.out
    assert "177 measurements" in ended.out
    assert "not asked whether it answers" in ended.out


def test_this_machine_has_no_file_that_could_hold(nas: Nas, elsewhere: Path) -> None:
    ended = nas("devices", "check", "host")
    assert ended.code == 0
    assert ended.out.startswith("This machine (")
    assert f"as it tells of itself: {elsewhere / 'hw_profiles' / 'host'}" in ended.out
    assert "profile.yaml" not in ended.out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("add", "x/y", "--via", "local"), 2, ("'x/y'", "letters")),
        (("add", "mychip"), 2, ("'mychip'", "--via")),
        (("add", "pi4", "--via", "local"), 2, ("known already",)),
        (("check", "mychip"), 2, ("'mychip'",)),
        (("check", "pi4", "--via", "ssh://no-such-host.invalid"), 4, ("no host of that name",)),
    ],
)
def test_bad_input(nas: Nas, arguments: tuple[str, ...], code: int, words: tuple[str, ...]) -> None:
    ended = nas("devices", *arguments)
    assert ended.code == code
    for word in words:
        assert word in ended.err


def test_a_profile_that_cannot_answer_does_not_hide_the_others(nas: Nas, elsewhere: Path) -> None:
    data = yaml.safe_load((data_root("hw_profiles") / "raspberrypi4" / "profile.yaml").read_text(encoding="utf-8"))
    data |= {"name": "int8only", "aliases": [], "predictors": [], "runtimes": {"onnxruntime": {"version": "1", "precisions": ["int8"]}}}
    data["default"]["precision"] = "int8"
    for name, text in (("int8only", yaml.safe_dump(data)), ("broken", "name: [")):
        (elsewhere / "hw_profiles" / name).mkdir(parents=True)
        (elsewhere / "hw_profiles" / name / "profile.yaml").write_text(text, encoding="utf-8")
    listed = nas("devices")
    assert listed.code == 0
    assert all(name in listed.out for name in ("int8only", "broken", "raspberrypi4"))
    found = {each["device"]: each for each in nas("devices", "--json").json["devices"]}
    assert found["raspberrypi4"]["why"] == ""
    assert found["int8only"]["target"] is None
    assert "nas measure --device int8only" in found["int8only"]["why"]
    assert "not valid YAML" in found["broken"]["why"]
