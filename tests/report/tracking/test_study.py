"""A study in a real MLflow store: what is there, and that logging again adds nothing."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.entities import ViewType

from nas.errors import InputError, StudyError
from nas.metrics import Metric
from nas.report.front import FrontRecord
from nas.report.record import read_front
from nas.report.study import study_id
from nas.report.tracking import Connection, Tracker, find_view
from nas.report.view import view_state, view_tag
from tests.report.strategies import example_front
from tests.report.studies import COST
from tests.report.tracking.stores import artifacts, experiment, files_of, found_runs, store, study_run, the_parent


def started(runs: Path, front: FrontRecord, **config: object) -> Tracker:
    tracker = Tracker(Connection(runs))
    tracker.start(study_run(front.study, front.space, **config))
    return tracker


def test_the_parent(runs: Path) -> None:
    client, front = store(runs), read_front(runs / "digits-1")
    parent = the_parent(client, "digits-1")
    assert parent.info.status == "FINISHED"
    assert parent.data.params.items() >= {"trials": "5", "recipe.lr": "0.2"}.items()
    assert parent.data.tags["version.hwnas"] == "0.1.0"
    assert parent.data.tags["devices"] == "raspberrypi4"
    best = max(each.value("accuracy_test") or 0.0 for each in front.finalists)
    assert parent.data.metrics["raspberrypi4/best_accuracy_test"] == best
    assert parent.data.metrics["raspberrypi4/best_latency_ms"] == pytest.approx(2.1)
    assert parent.data.metrics["raspberrypi4/front_members"] == 12
    assert parent.data.metrics["raspberrypi4/search_seconds"] == 93.4
    history = client.get_metric_history(parent.info.run_id, "raspberrypi4/hypervolume")
    assert [(point.step, point.value) for point in history] == [(trial + 1, 0.002 * trial) for trial in range(5)]
    assert parent.data.metrics["supernet/largest"] == 0.8
    costs = {name: value for name, value in parent.data.metrics.items() if "cost_" in name}
    assert costs.items() >= {"cost_training_kwh": 0.0012, "cost_evaluation_s": 30.0, "cost_measuring_kwh": 0.0}.items()
    assert (costs["cost_total_s"], costs["cost_total_kwh"], costs["cost_total_co2e_kg"]) == (95.0, 0.0019, 9.5e-5)
    assert len(costs) == 3 * 5
    told = {name: value for name, value in parent.data.tags.items() if name.startswith("cost_")}
    assert told == {name: value for name, value in COST.items() if isinstance(value, str)}
    assert "constant watts" in told["cost_method"]
    pictures = {"front.html", "front.png", "hypervolume.png"}
    rest = {"config.json", "front.json", "front.csv", "fronts/raspberrypi4.json", "candidates/raspberrypi4.json"}
    assert files_of(client, parent) >= pictures | rest
    table = json.loads((artifacts(parent) / "candidates" / "raspberrypi4.json").read_text())
    assert len(table["data"]) == 40
    assert "latency_ms_low" in table["columns"]
    columns = [table["columns"].index(name) for name in ("source_energy_mj", "scope_energy_mj")]
    assert {tuple(row[column] for column in columns) for row in table["data"]} == {("modelled", "board")}
    assert (parent.data.tags["raspberrypi4/source_energy_mj"], parent.data.tags["raspberrypi4/scope_energy_mj"]) == ("modelled", "board")


def test_the_images_are_an_input_and_none_is_copied(runs: Path) -> None:
    (used,) = the_parent(store(runs), "digits-1").inputs.dataset_inputs
    recorded = json.loads((runs / "digits-1" / "config.json").read_text())["data"]
    assert (used.dataset.name, used.dataset.digest) == ("digits", recorded["fingerprint"])
    assert json.loads(used.dataset.profile)["test_images"] == 360
    assert "digits" in used.dataset.source


def test_the_children(runs: Path) -> None:
    client, front = store(runs), read_front(runs / "digits-1")
    children = {run.data.tags["candidate_id"]: run for run in found_runs(client, "digits-1", "candidate")}
    assert set(children) == {each.id for each in front.front}
    parent = the_parent(client, "digits-1")
    for rank, each in enumerate(front.front, 1):
        run = children[each.id]
        known = each.candidate.metrics
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.metrics["accuracy_search"] == known["accuracy_search"].value
        assert run.data.metrics["latency_ms"] == pytest.approx(known["latency_s"].value * 1e3)
        assert run.data.metrics["latency_ms_low"] < run.data.metrics["latency_ms"] < run.data.metrics["latency_ms_high"]
        assert run.data.metrics["size_mib"] == pytest.approx(known["size_bytes"].value / 2**20)
        assert run.data.metrics.get("accuracy_test") == (known["accuracy_test"].value if each.finalist else None)
        assert {key: float(value) for key, value in run.data.params.items()} == dict(each.gene_numbers)
        tags = {
            "pareto": "true",
            "finalist": str(each.finalist).lower(),
            "rank": str(rank),
            "device": "raspberrypi4",
            "runtime": "onnxruntime",
            "precision": "fp32",
        }
        assert tags.items() <= run.data.tags.items()
        assert run.data.tags["source_latency_ms"] == "predicted"
        assert (run.data.tags["source_energy_mj"], run.data.tags["scope_energy_mj"]) == ("modelled", "board")
        assert files_of(client, run) == ({"model.onnx", "card.md", "architecture.json"} if each.finalist else set())


def test_the_views(runs: Path) -> None:
    found = experiment(store(runs))
    view = json.loads(found.tags["mlflow.sharedViewState.digits-1"])
    own = study_id(runs / "digits-1")
    assert view["searchFilter"] == f"tags.kind = 'candidate' AND tags.study = 'digits-1' AND tags.study_id = '{own}'"
    assert [chart["type"] for chart in view["compareRunCharts"]] == ["SCATTER", "SCATTER", "CONTOUR", "PARALLEL"]
    assert view["compareRunCharts"][3]["selectedParams"] == ["depth", "width", "resolution", "kernel"]
    device = json.loads(found.tags["mlflow.sharedViewState.digits-1-raspberrypi4"])
    assert device["searchFilter"].endswith("AND tags.device = 'raspberrypi4'")
    path = find_view(Connection(runs), "digits-1", study_id(runs / "digits-1"))
    assert path.startswith(f"/#/experiments/{found.experiment_id}/runs?viewStateShareKey=digits-1&compareRunsMode=CHART")
    note = found.tags["mlflow.note.content"]
    assert f"[digits-1]({path[1:]}) ([table]({path[1:].replace('CHART', 'TABLE')}))" in note
    assert "How to read" in note


def test_the_note_of_many_studies_has_the_newest(tmp_path: Path) -> None:
    front = replace(example_front(4, 3), study="zz-last")
    begun, names = started(tmp_path, front), [f"{number:02}-{'a-study-with-a-long-name-' * 3}" for number in range(60)]
    client = store(tmp_path)
    for number, name in enumerate(reversed(names)):  # 59 began first, 00 last
        tags = {"kind": "search", "study": name}
        client.create_run(begun.experiment_id, start_time=1000 + number, tags=tags)
        client.set_experiment_tag(begun.experiment_id, view_tag(name), view_state(name, (), ("latency_s",)))
    begun.log_front(front)
    note = experiment(client).tags["mlflow.note.content"]
    assert 15_000 < len(note) <= 20_000
    shown = [name for name in ("zz-last", "zz-last-raspberrypi4", *names) if f"[{name}](" in note]
    assert shown == ["zz-last", "zz-last-raspberrypi4", *names[: len(shown) - 2]]
    assert f"- and {62 - len(shown)} of earlier studies: `nas ui STUDY`" in note
    assert "How to read" in note


def test_logging_again_adds_nothing(runs: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    front = replace(example_front(4, 3), study="again")
    counts = []
    with caplog.at_level(logging.DEBUG):
        for _ in range(2):
            tracker = started(runs, front, trials=7)
            ids = tracker.log_front(front)
            assert len(ids) == 4
            tracker.log_files(runs / "again", [front], ids)
            tracker.finish("FINISHED")
            counts.append((tracker.runs, tracker.files))
    assert counts == [(5, 1), (0, 0)]
    assert capfd.readouterr() == ("", "")
    client = store(runs)
    assert len(found_runs(client, "again", "search", ViewType.ALL)) == 1
    children = found_runs(client, "again", "candidate", ViewType.ALL)
    assert len(children) == 4
    assert all(len(client.get_metric_history(run.info.run_id, "latency_ms")) == 1 for run in children)
    assert json.loads(the_parent(client, "again").data.tags["mlflow.loggedArtifacts"]) == [
        {"path": "candidates/raspberrypi4.json", "type": "table"}
    ]


@pytest.mark.parametrize("left", ["FAILED", "RUNNING"])
def test_a_resume_takes_up_the_run_and_the_front_moves(left: str, runs: Path) -> None:
    """Also one that still runs by its word, because its driver was killed."""
    client = store(runs)
    front = replace(example_front(5, 3), study=f"resumed-{left.lower()}")
    tracker = started(runs, front, trials=8)
    tracker.log_points([("raspberrypi4/hypervolume", 0.1, 1000, 0)])
    tracker.log_front(front)
    if left == "FAILED":
        tracker.finish("FAILED")
    moved = list(front.candidates)
    moved[4] = replace(moved[4], on_front=False, finalist=False)
    metrics = {**moved[0].candidate.metrics, "accuracy_test": Metric(0.99, "1", "trained")}
    moved[0] = replace(moved[0], finalist=True, candidate=replace(moved[0].candidate, metrics=metrics))
    tracker = started(runs, front, trials=20)
    assert the_parent(client, front.study).info.status == "RUNNING"
    tracker.log_points([("raspberrypi4/hypervolume", 0.1, 1000, 0), ("raspberrypi4/hypervolume", 0.2, 2000, 1)])
    assert len(tracker.log_front(replace(front, candidates=tuple(moved)))) == 4
    tracker.finish("FINISHED")
    parent = the_parent(client, front.study)
    assert parent.info.status == "FINISHED"
    assert (parent.data.params["trials"], parent.data.tags["resumed.trials"]) == ("8", "20")
    assert len(client.get_metric_history(parent.info.run_id, "raspberrypi4/hypervolume")) == 2
    children = found_runs(client, front.study, "candidate")
    assert {run.data.tags["candidate_id"] for run in children} == {each.id for each in moved if each.on_front}
    assert max(run.data.metrics.get("accuracy_test", 0) for run in children) == 0.99
    assert len(started(runs, front, trials=20).log_front(front)) == 5
    assert len(found_runs(client, front.study, "candidate", ViewType.ALL)) == 5


def test_devices_share_a_parent_and_large_fronts_are_thinned(runs: Path) -> None:
    client = store(runs)
    first = replace(example_front(30, 5), study="devices")
    second = example_front(5, 0, device="pixel3", study="devices")
    tracker = started(runs, first)
    ids = tracker.log_front(first, limit=10)
    assert len(ids) == 10
    assert len(tracker.log_front(second, limit=10)) == 5
    children = found_runs(client, "devices", "candidate")
    assert len(children) == 15
    assert {each.id for each in first.finalists} | {first.front[0].id, first.front[-1].id} <= set(ids)
    assert {"raspberrypi4/best_latency_ms", "pixel3/best_latency_ms"} <= set(the_parent(client, "devices").data.metrics)
    colours = {(run.data.tags["device"], run.data.tags["mlflow.runColor"]) for run in children}
    assert len({colour for _, colour in colours}) == len(colours) == 4  # two devices, finalists and others
    tags = experiment(client).tags
    filters = {key: json.loads(tags[f"mlflow.sharedViewState.{key}"])["searchFilter"] for key in ("devices", "devices-pixel3")}
    assert filters["devices"] == "tags.kind = 'candidate' AND tags.study = 'devices'"
    assert filters["devices-pixel3"] == filters["devices"] + " AND tags.device = 'pixel3'"


def test_a_study_keeps_its_view_from_a_device_of_another(runs: Path) -> None:
    """Study "a-pixel3", and study "a" on pixel3, have one key."""
    client = store(runs)
    whole, device = example_front(3, 0, study="a-pixel3"), example_front(3, 0, device="pixel3", study="a")
    started(runs, whole).log_front(whole)
    started(runs, device).log_front(device)
    view = json.loads(experiment(client).tags["mlflow.sharedViewState.a-pixel3"])
    assert view["searchFilter"] == "tags.kind = 'candidate' AND tags.study = 'a-pixel3'"


def test_what_was_deleted_in_the_ui_comes_back(runs: Path) -> None:
    client = store(runs)
    front = replace(example_front(3, 0), study="deleted", space="other_space")
    started(runs, front)
    client.delete_run(the_parent(client, "deleted").info.run_id)
    client.delete_experiment(experiment(client, "other_space on digits").experiment_id)
    assert len(started(runs, front).log_front(front)) == 3
    assert len(found_runs(client, "deleted", "candidate")) == 3


def test_an_empty_front_and_odd_names(runs: Path) -> None:
    empty = replace(example_front(3, 0), study="empty", candidates=())
    assert not started(runs, empty).log_front(empty)
    odd = replace(example_front(3, 0), study="odd")
    genes = {f"s{number}(a)=ü": 1.5 for number in range(400)}  # more than a request and a view take
    odd = replace(odd, candidates=tuple(replace(each, gene_numbers=genes, title="x" * 9000) for each in odd.candidates))
    assert len(started(runs, odd).log_front(odd)) == 3
    assert len(found_runs(store(runs), "odd", "candidate")[0].data.params) == 400


def test_passwords_of_the_configuration_stay_here(runs: Path) -> None:
    front = replace(example_front(2, 0), study="secret")
    started(runs, front, tracking_uri="http://me:hush@host:5000", storage="postgresql://me:hush@host/studies")
    assert "hush" not in json.dumps(the_parent(store(runs), "secret").data.params)


def test_nothing_before_start(runs: Path) -> None:
    with pytest.raises(InputError, match="before start"):
        Tracker(Connection(runs)).log_points([("hypervolume", 0.1, 0, 0)])
    with pytest.raises(InputError, match="before start"):
        _ = Tracker(Connection(runs)).view_path


def test_a_view_of_nothing(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="nothing is recorded yet of study digits-9"):
        find_view(Connection(runs), "digits-9", "")
    with pytest.raises(StudyError, match="nothing is recorded yet"):
        find_view(Connection(tmp_path), "digits-1", "")
    assert not list(tmp_path.iterdir())
