"""What `nas search` keeps of its options, and what it says in the end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nas.cli.search import _anchored, _new, report
from nas.cli.train import make_recipe
from nas.errors import InfeasibleError
from nas.pipeline import Result
from nas.resources import data_root


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("sqlite:///lab.db", "sqlite:///{}/lab.db"),
        ("sqlite:///../lab.db", "sqlite:///{}/../lab.db"),
        ("journal://lab.journal", "journal://{}/lab.journal"),
        ("sqlite:////data/lab.db", "sqlite:////data/lab.db"),
        ("postgresql://me@host/lab", "postgresql://me@host/lab"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite://", "sqlite://"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
    ],
)
def test_a_file_of_a_url_is_found_from_another_folder(url: str, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert _anchored(url) == kept.format(tmp_path / "here").replace("/here/..", "")


@pytest.mark.parametrize("given", ["boards/pixel3", "boards/pixel3/profile.yaml"])
def test_a_profile_is_found_from_another_folder(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(data_root("hw_profiles") / "pixel3", tmp_path / "boards" / "pixel3")
    (tmp_path / "fbnet").write_text("no space, which would be a .yaml")
    values = {
        "study": "s", "devices": (given, "raspberrypi4"), "space": "fbnet", "data": "digits", "evaluator": "supernet", "sampler": "front",
        "table": None, "teacher": None, "storage": None, "tracking_uri": None,
    }  # fmt: skip
    config = _new(values, None, make_recipe("digits", None, ()))
    assert config.devices == (str((tmp_path / given).resolve()), "raspberrypi4")
    assert config.space == "fbnet"


def test_a_device_without_a_front_is_said_after_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = Result(tmp_path / "s", (), 1.0, "", InfeasibleError("none of 4 candidates for pixel3", 4, {}))
    with pytest.raises(InfeasibleError, match="pixel3"):
        report(result, tmp_path, as_json=True)
    assert json.loads(capsys.readouterr().out)["study"] == "s"
