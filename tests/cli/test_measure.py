from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.cli import main
from nas.cli.measure import search_of
from nas.hardware.profile import load_profile
from nas.hardware.transports.local import LocalTransport
from tests.hardware.transports.sshd import Sshd, running

pytest.importorskip("torch")

TINY = ("--space", "mobilenet_tiny", "-n", "4")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(["measure", *arguments])
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    yield from running(tmp_path)


def test_this_machine_is_measured_and_goes_on(capsys: pytest.CaptureFixture[str], elsewhere: Path) -> None:
    code, out, _ = run(capsys, "--device", "host", *TINY, "--json")
    assert code == 0
    first = json.loads(out)
    assert first["networks"] == 4
    assert list(first["held_out"]) == ["out_of_fold_mape"]
    assert set(first["fit"]) == {"in_fold_mape", "ridge"}
    assert Path(first["predictor"]).is_file()
    assert len(list(Path(first["measurements"]).with_suffix(".runs").iterdir())) == 4
    rows = Path(first["measurements"])
    rows.write_text(rows.read_text() + "half a row\n")
    code, out, err = run(capsys, "--device", "host", "--space", "mobilenet_tiny", "-n", "5")
    assert code == 2
    assert "line 6" in err
    code, out, err = run(capsys, "--device", "host", "--space", "mobilenet_tiny", "-n", "5", "--skip-bad")
    assert code == 0
    assert "line 6 left out" in err
    assert "measured   5 networks" in out
    assert re.search(r"held out +mean absolute error [0-9.]+%\nband +90 %", out)
    assert "ridge" not in out
    assert "nas search" not in out


def test_a_new_device_is_asked_what_it_is_and_measured(
    capsys: pytest.CaptureFixture[str],
    elsewhere: Path,
    sshd: Sshd,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NAS_SSH_CONFIG", str(sshd.config))
    code, out, err = run(capsys, "--device", "mychip", "--via", "ssh://board", *TINY)
    assert code == 0, err
    assert "mychip is new" in err
    assert "held out" in out
    profile = load_profile("mychip")
    assert profile.folder.resolve() == elsewhere / "hw_profiles" / "mychip"
    assert profile.predictor(profile.target()).measurements == 4
    assert not any(path.is_dir() for path in (sshd.home / ".cache" / "hwnas").iterdir())
    told = elsewhere / "hw_profiles" / "mychip" / "profile.yaml"
    version = profile.runtimes["onnxruntime"].version
    told.write_text(told.read_text().replace(version, "unknown"))
    code, out, _ = run(capsys, "--device", "mychip", "--via", "ssh://board", *TINY, "--json")
    assert code == 0
    assert load_profile("mychip").target().runtime_version == "unknown"
    assert json.loads(out)["target"]["runtime_version"] == version
    code, _, err = run(capsys, "--device", "mychip", "--via", "ssh://board", "--runtime", "openvino", *TINY)
    assert code == 4
    assert "pip install openvino" in err


def test_a_runtime_that_the_machine_was_not_known_to_have_can_be_used_once_it_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openvino")
    code, out, err = run(capsys, "--device", "host", "--runtime", "openvino-cpu", *TINY, "--json")
    assert code == 0, err
    assert "profile.yaml" not in err
    profile = load_profile("host")
    assert str(profile.predictor_path(profile.target("openvino-cpu"))) == json.loads(out)["predictor"]
    assert profile.predictor(profile.target("openvino-cpu")).measurements == 4
    assert run(capsys, "--device", "host", "--runtime", "openvino-cpu", *TINY)[1].endswith(
        "\nsearch     nas search --device host --runtime openvino-cpu\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--device", "raspberypi4"), 2, "did you mean raspberrypi4"),
        (("--device", "raspberrypi4"), 2, "how is raspberrypi4 reached"),
        (("--device", "host", "--via", "ssh://pi"), 2, "a name of its own"),
        (("--device", "host", "--via", "carrier://pigeon"), 2, "a name of its own"),
        (("--device", "mychip", "--via", "carrier://pigeon"), 2, "transport 'carrier'"),
        (("--device", "mychip", "--via", "ssh://no-such-host.invalid"), 4, "no host of that name"),
        (("--device", "host", "--threads", "4096"), 2, "threads must be 1 to"),
        (("--device", "host", "--precision", "fp7"), 2, "precision must be one of"),
        (("--device", "host", "--precision", "fp16", *TINY), 2, "not fp16"),
        (("--device", "host", "--runtime", "tflite", *TINY), 2, "unknown runtime 'tflite'"),
        (("--device", "host", "--runtime", "openvin", *TINY), 2, "did you mean openvino"),
        (("--device", "host", "--runtime", "openvino-GPU", *TINY), 2, "unknown runtime 'openvino-GPU'"),
        (("--device", "host", "--threads", "0"), 2, "threads must be 1 to"),
        (("--device", "raspberrypi4", "--via", "ssh://pi:0"), 2, "an ssh address is"),
    ],
)
def test_bad_input_is_named(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, words: str) -> None:
    found, _, err = run(capsys, *arguments)
    assert words in err
    assert found == code
    assert not list(Path.cwd().rglob("profile.yaml"))


def test_a_second_measuring_of_this_machine_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    other = LocalTransport(key="another")
    try:
        other.connect()
        code, _, err = run(capsys, "--device", "host", *TINY)
    finally:
        other.close()
    assert code == 4
    assert "another measuring runs on it" in err


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({}, ""),
        ({"threads": 4}, "nas search --device pi4 --threads 4"),
        ({"runtime": "openvino", "precision": "int8"}, "nas search --device pi4 --runtime openvino --precision fp32 --precision int8"),
    ],
)
def test_what_a_plain_search_does_not_choose_is_told_with_its_options(changes: dict[str, Any], command: str) -> None:
    profile = load_profile("raspberrypi4")
    assert search_of("pi4", profile, dataclasses.replace(profile.target(), **changes)) == command
