"""What becomes of a search's candidates in its files, and what is told of where they are sent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nas import recording
from nas.config import SearchConfig
from nas.events import Event
from nas.metrics import Constraint
from nas.preparation import Prepared, prepare
from nas.recording import Recorder, front_record, save_config, select
from nas.report.front import OUTSIDE
from nas.report.runs import front_metrics
from nas.report.study import load_facts, study_id
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


def test_models_that_had_to_be_named_otherwise_are_told(prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StudyMirror, "renamed", ("s-raspberrypi4-1a2b3c4d",))
    told: list[Event] = []
    Recorder(tmp_path / "s", prepared, told.append).finish("FINISHED", {})
    assert any("registered as s-raspberrypi4-1a2b3c4d" in event.text for event in told)


def test_a_study_keeps_the_id_that_it_began_with(prepared: Prepared, tmp_path: Path) -> None:
    folders = [tmp_path / name / "s" for name in ("one", "two")]
    for folder in folders:
        save_config(folder, prepared.config, prepared)
    begun = [study_id(folder) for folder in folders]
    assert len(set(begun)) == 2
    save_config(folders[0], prepared.config.model_copy(update={"trials": 200}), prepared)
    assert study_id(folders[0]) == begun[0]
    facts = load_facts(folders[1])
    del facts["id"]
    (folders[1] / "config.json").write_text(json.dumps(facts))  # of an earlier version
    save_config(folders[1], prepared.config, prepared)
    assert study_id(folders[1]) == ""
