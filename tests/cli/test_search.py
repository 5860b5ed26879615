"""What `nas search` keeps of its options, and what it says in the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nas.cli.search import _anchored, report
from nas.errors import InfeasibleError
from nas.pipeline import Result


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


def test_a_device_without_a_front_is_said_after_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = Result(tmp_path / "s", (), 1.0, "", InfeasibleError("none of 4 candidates for pixel3", 4, {}))
    with pytest.raises(InfeasibleError, match="pixel3"):
        report(result, tmp_path, as_json=True)
    assert json.loads(capsys.readouterr().out)["study"] == "s"
