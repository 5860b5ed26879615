"""A study in a real MLflow store: what is there, that logging again adds nothing, and one error for every failure."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from mlflow import MlflowClient
from mlflow.entities import Experiment, Run, ViewType

from nas.errors import InputError, StudyError
from nas.metrics import Metric
from nas.report.front import FrontRecord
from nas.report.record import read_front
from nas.report.tracking import Tracker, TrackingError, local_store

from .strategies import example_front


def _runs(runs: Path, study: str, kind: str, view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
    client = MlflowClient(local_store(runs))
    ids = [each.experiment_id for each in client.search_experiments()]
    return list(client.search_runs(ids, f"tags.kind = '{kind}' AND tags.study = '{study}'", view, 1000))


def _experiment(runs: Path, name: str = "mobilenet_tiny on digits") -> Experiment:
    found = MlflowClient(local_store(runs)).get_experiment_by_name(name)
    assert found is not None
    return found


def _artifacts(run: Run) -> Path:
    return Path(unquote(urlparse(run.info.artifact_uri).path))


def _started(runs: Path, front: FrontRecord, **config: object) -> Tracker:
    tracker = Tracker(runs)
    tracker.start(front.study, front.space, front.data, config, {})
    return tracker


def test_the_parent(runs: Path) -> None:
    (parent,) = _runs(runs, "digits-1", "search")
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {"trials": "52", "recipe.lr": "0.2"}
    assert parent.data.tags["version"] == "0.1.0"
    assert parent.data.metrics["raspberrypi4/best_latency_ms"] == pytest.approx(2.1)
    assert parent.data.metrics["raspberrypi4/best_accuracy_test"] > parent.data.metrics["raspberrypi4/best_accuracy_search"]
    assert parent.data.metrics["raspberrypi4/front_members"] == 12
    history = MlflowClient(local_store(runs)).get_metric_history(parent.info.run_id, "hypervolume")
    assert [(point.step, point.value) for point in history] == [(trial, 0.002 * trial) for trial in range(5)]
    files = {path.relative_to(_artifacts(parent)).as_posix() for path in _artifacts(parent).rglob("*") if path.is_file()}
    pictures = {"front.html", "front.png", "hypervolume.png"}
    assert files == pictures | {"config.json", "front.json", "front.csv", "fronts/raspberrypi4.json", "candidates/raspberrypi4.json"}
    table = json.loads((_artifacts(parent) / "candidates" / "raspberrypi4.json").read_text())
    assert len(table["data"]) == 40
    assert "latency_ms_low" in table["columns"]


def test_the_children(runs: Path) -> None:
    front = read_front(runs / "digits-1")
    children = {run.data.tags["candidate_id"]: run for run in _runs(runs, "digits-1", "candidate")}
    assert set(children) == {each.id for each in front.front}
    (parent,) = _runs(runs, "digits-1", "search")
    for each in front.front:
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
            "device": "raspberrypi4",
            "runtime": "onnxruntime",
            "precision": "fp32",
        }
        assert tags.items() <= run.data.tags.items()
        assert run.data.tags["source_latency_ms"] == "predicted"
        assert (_artifacts(run) / "model.onnx").is_file() == each.finalist


def test_the_view(runs: Path) -> None:
    experiment = _experiment(runs)
    view = json.loads(experiment.tags["mlflow.sharedViewState.digits-1"])
    assert view["searchFilter"] == "tags.kind = 'candidate' AND tags.study = 'digits-1'"
    assert [chart["type"] for chart in view["compareRunCharts"]] == ["SCATTER", "SCATTER", "CONTOUR", "PARALLEL"]
    assert view["compareRunCharts"][3]["selectedParams"] == ["depth", "width", "resolution", "kernel"]
    path = Tracker(runs).find_view("digits-1")
    assert path.startswith(f"/#/experiments/{experiment.experiment_id}/runs?viewStateShareKey=digits-1&compareRunsMode=CHART")


def test_logging_again_adds_nothing(runs: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    front = replace(example_front(4, 3), study="again")
    with caplog.at_level(logging.DEBUG):
        for _ in range(2):
            tracker = _started(runs, front, trials=7)
            assert tracker.log_front(front, runs / "again") == 4
            tracker.finish("FINISHED")
    assert capfd.readouterr() == ("", "")
    assert len(_runs(runs, "again", "search", ViewType.ALL)) == 1
    children = _runs(runs, "again", "candidate", ViewType.ALL)
    assert len(children) == 4
    client = MlflowClient(local_store(runs))
    assert all(len(client.get_metric_history(run.info.run_id, "latency_ms")) == 1 for run in children)
    assert json.loads(_runs(runs, "again", "search")[0].data.tags["mlflow.loggedArtifacts"]) == [
        {"path": "candidates/raspberrypi4.json", "type": "table"}
    ]


def test_a_resume_takes_up_the_failed_run_and_the_front_moves(runs: Path) -> None:
    front = replace(example_front(5, 3), study="resumed")
    tracker = _started(runs, front, trials=8)
    tracker.log_progress(0, 0.1, 0.9)
    tracker.log_front(front, runs / "resumed")
    tracker.finish("FAILED")
    moved = list(front.candidates)
    moved[4] = replace(moved[4], on_front=False, finalist=False)
    metrics = {**moved[0].candidate.metrics, "accuracy_test": Metric(0.99, "1", "trained")}
    moved[0] = replace(moved[0], finalist=True, candidate=replace(moved[0].candidate, metrics=metrics))
    tracker = _started(runs, front, trials=20)
    assert _runs(runs, "resumed", "search")[0].info.status == "RUNNING"
    tracker.log_progress(1, 0.2, 0.95)
    assert tracker.log_front(replace(front, candidates=tuple(moved)), runs / "resumed") == 4
    tracker.finish("FINISHED")
    (parent,) = _runs(runs, "resumed", "search")
    assert parent.info.status == "FINISHED"
    assert (parent.data.params["trials"], parent.data.tags["resumed.trials"]) == ("8", "20")
    assert len(MlflowClient(local_store(runs)).get_metric_history(parent.info.run_id, "hypervolume")) == 2
    children = _runs(runs, "resumed", "candidate")
    assert {run.data.tags["candidate_id"] for run in children} == {each.id for each in moved if each.on_front}
    assert max(run.data.metrics.get("accuracy_test", 0) for run in children) == 0.99
    assert _started(runs, front, trials=20).log_front(front, runs / "resumed") == 5
    assert len(_runs(runs, "resumed", "candidate", ViewType.ALL)) == 5


def test_devices_share_a_parent_and_large_fronts_are_thinned(runs: Path) -> None:
    first = replace(example_front(30, 5), study="devices")
    second = example_front(3, 0, device="pixel3", study="devices")
    tracker = _started(runs, first)
    assert tracker.log_front(first, runs / "devices", limit=10) == 10
    assert tracker.log_front(second, runs / "devices", limit=10) == 3
    children = _runs(runs, "devices", "candidate")
    ids = {run.data.tags["candidate_id"] for run in children}
    assert len(children) == 13
    assert {each.id for each in first.finalists} | {first.front[0].id, first.front[-1].id} <= ids
    (parent,) = _runs(runs, "devices", "search")
    assert {"raspberrypi4/best_latency_ms", "pixel3/best_latency_ms"} <= set(parent.data.metrics)
    assert len(json.loads(parent.data.tags["mlflow.loggedArtifacts"])) == 2


def test_what_was_deleted_in_the_ui_comes_back(runs: Path) -> None:
    front = replace(example_front(3, 0), study="deleted", space="other_space")
    _started(runs, front)
    client = MlflowClient(local_store(runs))
    client.delete_run(_runs(runs, "deleted", "search")[0].info.run_id)
    client.delete_experiment(_experiment(runs, "other_space on digits").experiment_id)
    assert _started(runs, front).log_front(front, runs / "deleted") == 3
    assert len(_runs(runs, "deleted", "candidate")) == 3


def test_an_empty_front_and_odd_gene_names(runs: Path) -> None:
    empty = replace(example_front(3, 0), study="empty", candidates=())
    assert _started(runs, empty).log_front(empty, runs / "empty") == 0
    odd = replace(example_front(3, 0), study="odd")
    odd = replace(odd, candidates=tuple(replace(each, gene_numbers={"s1(a)=ü": 1.5}, title="x" * 9000) for each in odd.candidates))
    assert _started(runs, odd).log_front(odd, runs / "odd") == 3


def test_progress_is_throttled_and_never_lost(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = _started(runs, replace(example_front(), study="progress"))
    sent = []
    monkeypatch.setattr(MlflowClient, "log_batch", lambda self, run_id, metrics: sent.append(len(metrics)))
    for trial in range(600):
        tracker.log_progress(trial, 0.1, 0.9)
    tracker.finish("KILLED")
    assert sum(sent) == 1200
    assert len(sent) < 10
    assert max(sent) <= 1000


def test_nothing_before_start(runs: Path) -> None:
    with pytest.raises(InputError, match="before start"):
        Tracker(runs).log_progress(0, 0.1, 0.9)
    with pytest.raises(InputError, match="before start"):
        _ = Tracker(runs).view_path


def test_a_view_of_nothing(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="nothing is recorded yet of study digits-9"):
        Tracker(runs).find_view("digits-9")
    with pytest.raises(StudyError, match="nothing is recorded yet"):
        Tracker(tmp_path).find_view("digits-1")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("http://somebody:secret@127.0.0.1:9/", "127.0.0.1"),
        ("sqlite:////proc/nowhere/mlflow.db", "/proc/nowhere"),
        ("gopher://host/", "gopher"),
        ("sqlite:///{tmp}/text.db", "text.db"),
    ],
)
def test_a_store_that_fails_is_one_clear_error(uri: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "text.db").write_text("this is not a database " * 100)
    with pytest.raises(TrackingError, match=r"tracking to .* failed: ") as failure:
        Tracker(tmp_path, uri.format(tmp=tmp_path)).start("digits-1", "s", "d", {}, {})
    assert says in str(failure.value)
    assert "secret" not in str(failure.value)
    assert len(str(failure.value).splitlines()) == 1


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "mlflow").write_text("")
    with pytest.raises(TrackingError, match="failed"):
        Tracker(tmp_path).start("digits-1", "s", "d", {}, {})
