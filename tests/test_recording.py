"""What becomes of a search's candidates in its files, and what is told of where they are sent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nas import recording
from nas.config import SearchConfig
from nas.metrics import Constraint
from nas.preparation import Prepared, prepare
from nas.recording import Recorder, front_record, select
from nas.report.front import OUTSIDE
from nas.report.runs import front_metrics
from nas.report.tracking import StudyMirror
from tests.evaluated import evaluated


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A search for a board with one and with four threads, and with a bound that not all can keep."""
    config = SearchConfig(
        study="s", devices=("raspberrypi4",), space="mobilenet_tiny", data="digits", threads=(1, 4),
        constraints=(Constraint("accuracy_search", 0.65, "min"),), energy_axis="targets",
    )  # fmt: skip
    return prepare(config, tmp_path_factory.mktemp("home") / "runs", lambda event: None, lambda: False)


def test_the_view_is_told_without_a_password(prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StudyMirror, "view_path", "/#/experiments/1")
    config = prepared.config.model_copy(update={"tracking_uri": "http://me:secret@mlflow:5000/"})
    recorder = Recorder(tmp_path / "s", replace(prepared, config=config), lambda event: None)
    assert recorder.view == "http://***@mlflow:5000/#/experiments/1"


def test_what_breaks_a_bound_is_not_called_dominated(prepared: Prepared) -> None:
    (done,) = evaluated(prepared)
    front = front_record(prepared, prepared.devices[0], done, select(prepared, done), {}, {}, {})
    words = {each.id: each.why_not for each in front.candidates}
    for each in done:
        breaks = each.candidate.metrics["accuracy_search"].value < 0.65
        assert (words[each.candidate.id] == OUTSIDE) == breaks
    assert set(words.values()) == {"", "dominated", OUTSIDE}


def test_counts_are_those_of_all_candidates(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the record has room for a few, and each network is one on several targets."""
    monkeypatch.setattr(recording, "MOST_OTHERS", 5)
    (done,) = evaluated(prepared)
    networks = len(done) // 2
    front = front_record(prepared, prepared.devices[0], done, select(prepared, done), {}, {}, {"trials": float(networks)})
    assert len(front.candidates) == len(front.front) + 5
    assert (front.evaluated, front.total) == (networks, len(done))
    assert front.held == f"{len(front.candidates)} of {len(done)} candidates"
    assert front_metrics(front)["raspberrypi4/candidates"] == len(done)
    assert "raspberrypi4/search_candidates" not in front_metrics(front)
    archs = {each.candidate.arch for each in front.front}
    assert len(archs) < len(front.front)
    assert front.found.startswith(f"{len(archs)} of {networks} evaluated networks are on the front, {len(front.front)} with ")
