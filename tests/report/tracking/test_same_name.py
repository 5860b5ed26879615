"""Searches that have one name in one store: of two people, or of one who deleted the first. None takes anything from another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nas.errors import StudyError
from nas.files import write_atomic
from nas.report.study import study_id
from nas.report.tracking import Connection, find_view, sync
from tests.report.strategies import example_front
from tests.report.studies import write_study
from tests.report.tracking.stores import everything, experiment, found_runs, store

NAME = "same-raspberrypi4"


def test_each_search_has_its_own_runs_views_and_models(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    one, two = (write_study(tmp_path / who, [example_front(members, 0, study="same")]) for who, members in (("one", 4), ("two", 3)))
    first = sync(one, uri)
    client = store(tmp_path, uri)
    before = everything(client, "same")
    second = sync(two, uri)
    ids = [study_id(folder) for folder in (one, two)]
    own = f"{NAME}-{ids[1][:8]}"
    assert ids[0] != ids[1]
    assert (first.renamed, second.renamed) == ((), (own,))
    parents = {run.data.tags["study_id"]: run for run in found_runs(client, "same", "search")}
    children = found_runs(client, "same", "candidate")
    assert set(parents) == set(ids)
    for number, members in zip(ids, (4, 3), strict=True):
        mine = [run for run in children if run.data.tags["study_id"] == number]
        assert len(mine) == members
        assert {run.data.tags["mlflow.parentRunId"] for run in mine} == {parents[number].info.run_id}
        assert len(client.get_metric_history(parents[number].info.run_id, "raspberrypi4/hypervolume")) == 5
    after = everything(client, "same")
    assert after["models"][NAME] == before["models"][NAME]
    assert after["models"][own][0]["study_id"] == ids[1]
    assert {dict(tags)["study_id"] for _, tags in after["models"][own][2]} == {ids[1]}
    assert before["views"].items() <= after["views"].items()
    state = after["views"][f"mlflow.sharedViewState.same-{ids[1][:8]}"]
    assert state["searchFilter"] == f"tags.kind = 'candidate' AND tags.study = 'same' AND tags.study_id = '{ids[1]}'"
    assert f"[same-{ids[1][:8]}](" in experiment(client).tags["mlflow.note.content"]
    assert [find_view(Connection(tmp_path, uri), "same", each) for each in ids] == [first.view_path, second.view_path]
    assert first.view_path != second.view_path
    for folder in (one, two):
        assert sync(folder, uri).sent.words() == "nothing: all of it is there"


def old_and_new(home: Path) -> tuple[Path, Path]:
    """Two searches of one name; the first was begun by a version that gave them no ids."""
    old, new = (write_study(home / who, [example_front(2, 0, study="same")]) for who in ("old", "new"))
    facts = json.loads((old / "config.json").read_text())
    del facts["id"]
    write_atomic(old / "config.json", json.dumps(facts))
    return old, new


def test_a_study_of_an_earlier_version_goes_on_with_the_runs_that_have_no_id(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    old, new = old_and_new(tmp_path)
    sync(old, uri)
    assert sync(new, uri).sent.runs == 3
    assert sync(old, uri).sent.words() == "nothing: all of it is there"
    client = store(tmp_path, uri)
    assert sorted(run.data.tags.get("study_id", "") for run in found_runs(client, "same", "search")) == ["", study_id(new)]
    assert client.get_registered_model(NAME).tags.get("study_id") is None


def test_a_study_without_an_id_takes_no_model_of_another(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    old, new = old_and_new(tmp_path)
    sync(new, uri)
    with pytest.raises(StudyError, match=f"a model '{NAME}' of study 'same' is registered already: choose another --study"):
        sync(old, uri)
    assert len(found_runs(store(tmp_path, uri), "same", "search")) == 2
