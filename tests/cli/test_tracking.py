"""nas sync, nas ui, and registered models in nas pick and nas export."""

from __future__ import annotations

import json
import socket
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from nas.report.record import read_front
from nas.report.tracking import sync
from tests.command import Nas
from tests.report.strategies import example_front
from tests.report.studies import write_study

NAME = "digits-1-raspberrypi4"


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/ with one study that the local store has, and one whose server is down."""
    runs = tmp_path_factory.mktemp("tracked") / "runs"
    write_study(runs, [replace(example_front(2, 0), study="away")], tracking_uri="http://127.0.0.1:1")
    sync(write_study(runs, [example_front(5, 4)]))
    return runs


def test_sync(nas: Nas, tracked: Path) -> None:
    ended = nas("sync", "digits-1", "--runs", tracked)
    assert (ended.code, ended.err) == (0, "")
    assert "nothing: all of it is there" in ended.out
    assert "nas ui digits-1" in ended.out
    other = tracked / "elsewhere" / "mlflow.db"
    other.parent.mkdir()
    with closing(sqlite3.connect(tracked / "mlflow" / "mlflow.db")) as source, closing(sqlite3.connect(other)) as copy:
        source.backup(copy)
    found = nas("sync", "digits-1", "--runs", tracked, "--tracking-uri", f"sqlite:///{other}", "--json").json
    assert found["sent"] == {"runs": 0, "files": 0, "models": 0}
    assert found["store"] == f"sqlite:///{other}"
    assert "viewStateShareKey=digits-1&" in found["view"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("sync", "away"), 4, ("tracking to http://127.0.0.1:1 failed", "refused")),
        (("sync", "digit-1"), 2, ("'digit-1'", "did you mean digits-1")),
        (("sync", "digits-1", "--tracking-uri", "htp://host"), 2, ("--tracking-uri must be http", "'htp://host'")),
        (("ui", "nosuch"), 2, ("'nosuch'",)),
        (("search", "-d", "raspberrypi4", "--tracking-uri", "mlruns"), 2, ("--tracking-uri must be http", "'mlruns'")),
        (("train-supernet", "--tracking-uri", "http://"), 2, ("--tracking-uri must be http", "'http://'")),
        (("pick", f"models:/{NAME}@best"), 2, ("no alias 'best'", "@knee")),
        (("pick", "models:/nosuch@knee"), 2, ("unknown registered model 'nosuch'", NAME)),
        (("pick", f"models:/{NAME}@knee", "--knee"), 2, ("leave out --knee",)),
        (("export", f"models:/{NAME}@knee", "--max-latency", "3ms"), 2, ("leave out --max-latency",)),
        (("export", f"models:/{NAME}@knee", "--format", "openvino"), 2, ("--format openvino", "nas export digits-1", "--pick")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_refused(arguments: tuple[str, ...], code: int, words: tuple[str, ...], nas: Nas, tracked: Path) -> None:
    ended = nas(*arguments, "--runs", tracked)
    assert ended.code == code, ended.err
    assert not ended.out
    assert all(word in ended.err for word in words), ended.err
    assert len(ended.err.splitlines()) <= 2


def test_a_port_that_is_taken(nas: Nas, tracked: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ended = nas("ui", "digits-1", "--runs", tracked, "--port", other.getsockname()[1])
    assert ended.code == 2
    assert "is taken: choose another one with --port, or a free one with --port 0" in ended.err


def test_a_folder_that_was_renamed(nas: Nas, tmp_path: Path) -> None:
    write_study(tmp_path, [example_front(2, 0)]).rename(tmp_path / "mine")
    for command in ("sync", "ui"):
        ended = nas(command, "mine", "--runs", tmp_path)
        assert ended.code == 2
        assert "holds study 'digits-1'" in ended.err


@pytest.mark.parametrize("which", ["@fastest", "@most-accurate", "/1"])
def test_a_registered_model_is_picked(which: str, nas: Nas, tracked: Path) -> None:
    front = read_front(tracked / "digits-1")
    picked = nas("pick", f"models:/{NAME}{which}", "--runs", tracked, "--json").json
    assert (picked["study"], picked["device"]) == ("digits-1", "raspberrypi4")
    expected = front.front[-1] if which == "@most-accurate" else front.front[0]
    assert picked["candidate"] == expected.to_dict()


def test_a_registered_model_is_exported(nas: Nas, tracked: Path, tmp_path: Path) -> None:
    ended = nas("export", f"models:/{NAME}@knee", "--runs", tracked, "--out", tmp_path / "out", "--json")
    assert ended.code == 0, ended.err
    home = tracked / "digits-1" / "models" / ended.json["id"]
    assert {Path(path).name for path in ended.json["files"]} == {"model.onnx", "card.md", "architecture.json"}
    assert all(Path(path).read_bytes() == (home / Path(path).name).read_bytes() for path in ended.json["files"])
    assert json.loads((tmp_path / "out" / "architecture.json").read_text())["space"] == "mobilenet_tiny"
    inside = nas("export", f"models:/{NAME}@knee", "--runs", tracked, "--out", tracked / "digits-1" / "models" / "new")
    assert (inside.code, "which is the folder of a study: choose another folder" in inside.err) == (2, True)
    other = nas("export", f"models:/{NAME}@knee", "--runs", tracked, "--format", "openvino")
    assert (other.code, f"--device raspberrypi4 --pick {ended.json['id']} --format openvino" in other.err) == (2, True)


def test_a_model_of_another_machine_is_found_where_the_environment_says(
    nas: Nas, tracked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("pick", f"models:/{NAME}@knee", "--runs", tmp_path, "--json")
    assert nas(*command).code == 2
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tracked / 'mlflow' / 'mlflow.db'}")
    assert nas(*command).json["study"] == "digits-1"


def test_a_study_is_not_taken_for_another_whose_name_it_begins(nas: Nas, tracked: Path, tmp_path: Path) -> None:
    for name in ("mlflow", "digits-1"):
        (tmp_path / name).symlink_to(tracked / name)
    write_study(tmp_path, [replace(example_front(2, 0), study="digits")], tracking_uri="http://127.0.0.1:1")  # the newer of the two
    assert nas("pick", f"models:/{NAME}@knee", "--runs", tmp_path, "--json").json["study"] == "digits-1"
