"""Accuracies of a study are of one source, whatever is trained beside it, whenever it goes on and whatever it takes over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from nas.config import TrainRecipe, check_config
from nas.errors import StoppedError, StudyError
from nas.events import Listener
from nas.metrics import Candidate, Metric
from nas.opening import begin_studies, clock, own_storage
from nas.preparation import Prepared, prepare
from nas.provenance import as_begun, context_of, earlier, keep_supernet, supernet_job
from nas.recording import save_config
from nas.search import storage
from nas.search.sampler import distributions
from nas.training.parallel import ALONE, Team
from nas.training.reuse import SupernetFile, SupernetJob

RECIPE = TrainRecipe(epochs=2, batch_size=64, flip=False).model_dump()
KEPT = "weights.safetensors"


def ready(runs: Path, **changes: Any) -> Prepared:
    values = {"study": "s", "devices": ("raspberrypi4",), "space": "mobilenet_tiny", "data": "digits", "trials": 4, "recipe": RECIPE}
    return prepare(check_config({**values, **changes}), runs, lambda event: None, lambda: False)


def begun(prepared: Prepared, runs: Path, told: int = 1) -> storage.Study:
    """The study that keeps the clock, with so many candidates told."""
    folder = runs / prepared.config.study
    save_config(folder, prepared.config, prepared)
    store = own_storage(folder) if prepared.config.storage is None else storage.open_storage(prepared.config.storage)
    (study,) = begin_studies(prepared, store, {})
    device = prepared.devices[0]
    for _ in range(told):
        trial = storage.ask(study, distributions(prepared.space), 60.0)
        arch = prepared.space.canonical(trial.params)
        metrics = {"accuracy_search": Metric(0.9, "1", "supernet", std=0.01), **device.scorer.metrics(arch)}
        storage.record(study, trial, Candidate(arch, device.target, metrics, trial.number), prepared.objectives, 1.0)
    return clock(prepared, store)


def trained(prepared: Prepared, folder: str) -> Path:
    """Weights in a supernet's folder."""
    path = prepared.cache / "supernets" / folder / KEPT
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


def test_a_longer_training_does_not_take_the_place_of_a_studys_own(tmp_path: Path) -> None:
    short = ready(tmp_path, time_budget_s=20.0)
    study = begun(short, tmp_path)
    own = trained(short, supernet_job(short).home().name)
    keep_supernet(study, own.parent.name)
    longer = trained(short, supernet_job(short).key)
    for prepared in (short, ready(tmp_path, time_budget_s=7200.0), ready(tmp_path)):
        assert supernet_job(prepared).found() == longer
        assert as_begun(supernet_job(prepared), study).found() == own
    own.unlink()  # it is trained again as it was: for so long, and in its place
    again = as_begun(supernet_job(ready(tmp_path, time_budget_s=7200.0)), study)
    assert again.found() is None
    assert (again.budget_s, again.home()) == (10.0, own.parent)


def test_a_training_that_was_stopped_goes_on_whatever_time_there_is_now(tmp_path: Path) -> None:
    short = ready(tmp_path, time_budget_s=20.0)
    study = begun(short, tmp_path, told=0)
    job = supernet_job(short)
    keep_supernet(study, job.home().name)
    longer = as_begun(supernet_job(ready(tmp_path, time_budget_s=7200.0)), study)
    assert longer.home() == job.home()
    done = trained(short, job.key)  # no accuracy is known yet: the longest training serves
    assert longer.found() == done


def test_a_search_trains_where_train_supernet_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared, gpu = ready(tmp_path), Team(device=torch.device("cuda", 0))
    teams: list[Team] = []

    def run(job: SupernetJob, on_event: Listener, stop: Callable[[], bool], team: Team = ALONE) -> SupernetFile:
        teams.append(team)
        raise StoppedError("before anything is trained")

    monkeypatch.setattr(SupernetJob, "run", run)
    monkeypatch.setattr("nas.provenance.alone_here", lambda: gpu)
    with pytest.raises(StoppedError):
        context_of(prepared, begun(prepared, tmp_path, told=0), lambda event: None, lambda: False)
    assert teams == [gpu]


def test_weights_that_cannot_be_made_again_are_missed(tmp_path: Path) -> None:
    prepared = ready(tmp_path)
    study = begun(prepared, tmp_path)
    other = trained(prepared, "0123456789abcdef")
    keep_supernet(study, other.parent.name)
    assert as_begun(supernet_job(prepared), study).found() == other
    other.unlink()
    with pytest.raises(StudyError, match=r"supernet that is gone \(.*0123456789abcdef\)"):
        as_begun(supernet_job(prepared), study)


def test_a_study_without_candidates_is_bound_to_nothing(tmp_path: Path) -> None:
    prepared = ready(tmp_path)
    study, job = begun(prepared, tmp_path, told=0), supernet_job(prepared)
    assert as_begun(job, study) == job
    keep_supernet(study, "0123456789abcdef")
    assert as_begun(job, study) == job
    keep_supernet(study, "weights")
    with pytest.raises(StudyError, match="'weights' names no supernet"):
        as_begun(job, study)


def test_accuracies_and_their_supernet_are_taken_over(tmp_path: Path) -> None:
    prepared = ready(tmp_path)
    keep_supernet(begun(prepared, tmp_path, told=2), supernet_job(prepared).key)
    found = earlier(ready(tmp_path, study="new", warm_start=("s",), time_budget_s=60.0), tmp_path)
    assert len(found.accuracies) == 2
    assert found.supernet == supernet_job(prepared).key
    assert earlier(prepared, tmp_path).accuracies == {}


def test_an_earlier_study_may_be_kept_elsewhere(tmp_path: Path) -> None:
    elsewhere = f"sqlite:///{tmp_path / 'lab.db'}"
    begun(ready(tmp_path, storage=elsewhere), tmp_path, told=2)
    begun(ready(tmp_path, study="other", storage=elsewhere), tmp_path, told=3)
    theirs = tmp_path / "theirs"  # of that name too, for another device
    begun(ready(theirs, devices=("pixel3",), storage=elsewhere), theirs, told=3)
    assert len(earlier(ready(tmp_path, study="new", warm_start=("s",)), tmp_path).accuracies) == 2


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ({}, {"evaluator": "train"}, "of supernet, these of train"),
        ({}, {"recipe": {**RECIPE, "lr": 0.01}}, "trained with another recipe, seed or first weights"),
        ({"evaluator": "train"}, {"evaluator": "train", "recipe": {**RECIPE, "lr": 0.01}}, "its networks were trained with another recipe"),
    ],
)
def test_accuracies_that_cannot_be_compared_are_refused(tmp_path: Path, before: dict[str, Any], now: dict[str, Any], words: str) -> None:
    old = ready(tmp_path, **before)
    study = begun(old, tmp_path)
    if not before:
        keep_supernet(study, supernet_job(old).key)
    with pytest.raises(StudyError, match=f"--warm-start s: .*{words}"):
        earlier(ready(tmp_path, study="new", warm_start=("s",), **now), tmp_path)


def test_tables_are_compared_by_their_names(tmp_path: Path) -> None:
    old, new = ({"evaluator": "tabular", "table": str(tmp_path / name)} for name in ("a.csv", "b.csv"))
    prepared = ready(tmp_path)
    begun(with_config(prepared, **old), tmp_path)
    with pytest.raises(StudyError, match=r"--warm-start s: its accuracies are of table .*a\.csv, these of .*b\.csv"):
        earlier(with_config(prepared, study="new", warm_start=("s",), **new), tmp_path)


def with_config(prepared: Prepared, **changes: Any) -> Prepared:
    return replace(prepared, config=prepared.config.model_copy(update=changes))


def test_a_space_that_was_edited_since_is_another_one(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    text = yaml.safe_load(Path("search_spaces/mobilenet_tiny.yaml").read_text())
    file.write_text(yaml.safe_dump({**text, "name": "mine"}))
    begun(ready(tmp_path, space=str(file)), tmp_path)
    assert len(earlier(ready(tmp_path, study="new", space=str(file), warm_start=("s",)), tmp_path).accuracies) == 1
    first = {**text["stages"][-1], "act": "hardswish" if text["stages"][-1].get("act") != "hardswish" else "relu"}
    file.write_text(yaml.safe_dump({**text, "name": "mine", "stages": [*text["stages"][:-1], first]}))
    with pytest.raises(StudyError, match="has space_fingerprint"):
        earlier(ready(tmp_path, study="new", space=str(file), warm_start=("s",)), tmp_path)
    with pytest.raises(StudyError, match="has space_fingerprint"):
        begun(ready(tmp_path, space=str(file)), tmp_path)


def test_studies_that_have_another_supernet_each_do_not_go_together(tmp_path: Path) -> None:
    key = supernet_job(ready(tmp_path)).key
    for name, folder in (("a", key), ("b", f"{key}-10s")):
        keep_supernet(begun(ready(tmp_path, study=name), tmp_path), folder)
    with pytest.raises(StudyError, match=f"--warm-start b: its accuracies are of supernet {key}-10s, others' of {key}"):
        earlier(ready(tmp_path, study="new", warm_start=("a", "b")), tmp_path)
