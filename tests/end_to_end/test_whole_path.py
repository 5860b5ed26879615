"""One real search on digits through the real command line, and what must hold of everything that it leaves behind."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.onnx
import mlflow.pyfunc
import numpy as np
import onnxruntime
import optuna
import pandas as pd
import pytest
from mlflow import MlflowClient

from nas.errors import TrainingError
from nas.metrics import UNITS
from nas.report.front import FrontRecord
from nas.report.record import EventLog, read_front
from nas.report.study import study_id
from nas.report.tracking import Connection, find_view, local_store
from nas.search.artifacts import FILES
from nas.search.evaluators.supernet import SupernetEvaluator
from nas.training.data import load_data
from tests.command import Nas, nas_command

DEVICES = ("raspberrypi4", "pixel3")
FRONTS = (*DEVICES, "joint-worst")
TRIALS = 8
MORE = 2
"""A quarter as many for each further front, which is told what was found for those before it."""
CANDIDATES = dict(zip(FRONTS, (TRIALS, TRIALS + MORE, TRIALS + 2 * MORE), strict=True))
QUICK = ("--epochs", "1", "--seed", "1")


@dataclass(frozen=True)
class Study:
    """A search that ended, and what it printed."""

    folder: Path
    printed: Mapping[str, Any]
    told: str

    def front(self, device: str = DEVICES[0]) -> FrontRecord:
        return read_front(self.folder, device)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "nas", *map(str, arguments)]


@pytest.fixture
def nas(capsys: pytest.CaptureFixture[str]) -> Nas:
    return nas_command(capsys)


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two devices, finalists fine-tuned in earnest, as a process of its own."""
    runs = tmp_path_factory.mktemp("search") / "runs"
    options = (
        "-d",
        DEVICES[0],
        "-d",
        DEVICES[1],
        "--joint",
        "worst",
        "--study",
        "main",
        "--runs",
        runs,
        *QUICK,
        "--trials",
        TRIALS,
        "--finalists",
        2,
        "--json",
    )
    done = subprocess.run(command("search", *options), capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    return Study(runs / "main", json.loads(done.stdout), done.stderr)


@pytest.fixture
def quick_finalists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finalists that are not fine-tuned, in this process: the supernet stays the same one."""
    from nas import config

    recipe = config.default_recipe("digits").model_copy(update={"finetune_epochs": 0})
    monkeypatch.setattr(config, "default_recipe", lambda data: recipe)


def states(folder: Path) -> dict[str, int]:
    """How many trials are in which state, by the storage itself."""
    with sqlite3.connect(folder / "study.db") as connection:
        return dict(connection.execute("SELECT state, count(*) FROM trials GROUP BY state").fetchall())


def test_every_file_is_there(study: Study) -> None:
    names = {path.name for path in study.folder.iterdir()}
    files = {"config.json", "study.db", "candidates.parquet", "front.json", "front.csv", "front.html", "front.png", "log.jsonl"}
    assert files | {"fronts", "models", "hypervolume.png", "report.html"} <= names
    assert {path.stem for path in (study.folder / "fronts").iterdir()} == set(FRONTS)
    assert (study.folder / "front.json").read_bytes() == (study.folder / "fronts" / f"{DEVICES[0]}.json").read_bytes()
    assert not list(study.folder.rglob("*.tmp"))
    assert not list(study.folder.rglob("*.pkl"))


def test_what_is_printed_is_what_is_written(study: Study) -> None:
    assert [FrontRecord.from_dict(front) for front in study.printed["fronts"]] == [study.front(device) for device in FRONTS]
    assert (study.printed["schema"], study.printed["study"]) == (1, "main")
    assert study.told.startswith("This will take about")
    assert "MiB of disk" in study.told.splitlines()[0]
    assert "warn" not in study.told.lower()


def test_every_number_has_a_source_and_fronts_hold_together(study: Study) -> None:
    for device in FRONTS:
        front = study.front(device)
        assert (front.device, front.space, front.data) == (device, "mobilenet_tiny", "digits")
        assert front.hypervolume > 0
        assert front.front
        assert len(front.candidates) == CANDIDATES[device]
        for each in front.candidates:
            metrics = each.candidate.metrics
            assert set(metrics) <= set(UNITS)
            assert metrics["accuracy_search"].source == "supernet"
            assert metrics["accuracy_search"].std is not None
            assert metrics["latency_s"].source == "predicted"
            assert metrics["energy_j"].source == "modelled"
            assert all(metrics[name].source == "counted" for name in ("macs", "params", "size_bytes", "peak_memory_bytes"))
            assert ("accuracy_test" in metrics) == each.finalist == bool(each.artifacts)
            better = [
                other
                for other in front.candidates
                if other.candidate.metrics["accuracy_search"].value > metrics["accuracy_search"].value
                and other.candidate.metrics["latency_s"].value < metrics["latency_s"].value
            ]
            assert not (each.on_front and better)
        assert 1 <= len(front.finalists) <= 2
        assert {front.front[0].id, front.front[-1].id} == {each.id for each in front.finalists}  # its ends


def test_the_table_and_the_log_have_every_candidate(study: Study) -> None:
    table = pd.read_parquet(study.folder / "candidates.parquet")
    assert len(table) == sum(CANDIDATES.values())
    for device in FRONTS:
        ids = [each.id for each in study.front(device).candidates]
        rows = table[table.device == device].set_index("id")
        assert sorted(rows.index) == sorted(ids)
        tested = {each.id: each.value("accuracy_test") for each in study.front(device).finalists}
        assert rows.accuracy_test.dropna().to_dict() == tested
    events = EventLog(study.folder / "log.jsonl").read()
    kinds = [event["kind"] for event in events]
    assert kinds.count("trial") == TRIALS + 2 * MORE
    assert kinds.count("finalist") == sum(len(study.front(device).finalists) for device in FRONTS)
    assert kinds[-1] == "done"
    assert not [event for event in events if event["kind"] == "warning"]


def test_a_further_device_is_told_what_was_found_for_others(study: Study) -> None:
    table = pd.read_parquet(study.folder / "candidates.parquet")
    first, second, joint = (table[table.device == device].set_index("arch_id") for device in FRONTS)
    assert set(first.index) < set(second.index) < set(joint.index)
    for one, other in ((first, second), (second, joint)):
        assert (one.seconds == other.seconds[one.index]).all()
        assert (one.accuracy_search == other.accuracy_search[one.index]).all()
    # Each device has costs of its own, and what is good on both is as slow as on the slower.
    slowest = np.maximum(first.latency_s, second.latency_s[first.index])
    assert (joint.latency_s[first.index] == slowest).all()
    assert first.latency_s.max() > second.latency_s[first.index].max()


def test_a_finalist_for_several_devices_says_what_it_takes_on_each(study: Study) -> None:
    known = {each.candidate.arch: 1e3 * (each.value("latency_s") or 0) for each in study.front("pixel3").candidates}
    finalists = study.front("joint-worst").finalists
    assert any(each.candidate.arch in known for each in finalists)
    for each in finalists:
        assert "raspberrypi4 " in each.note
        if each.candidate.arch in known:
            assert f"pixel3 {known[each.candidate.arch]:.4g} ms" in each.note


def test_exported_models_classify_the_test_set_as_the_table_says(study: Study) -> None:
    for device in FRONTS:
        for each in study.front(device).finalists:
            path = study.folder / each.artifacts["onnx"]
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            size = session.get_inputs()[0].shape[2]
            test = load_data("digits", size, seed=1).test
            pixels = test.images.transpose(0, 3, 1, 2).astype(np.float32) / 255
            logits = np.concatenate([session.run(None, {session.get_inputs()[0].name: one[None]})[0] for one in pixels])
            assert float((np.argmax(logits, axis=1) == test.labels).mean()) == each.value("accuracy_test")
            files = {*FILES.values(), "architecture.svg"}
            assert {path.name for path in path.parent.iterdir()} == files == {Path(name).name for name in each.artifacts.values()}


def test_mlflow_has_the_study_and_its_candidates(study: Study) -> None:
    assert find_view(Connection(study.folder.parent), "main", study_id(study.folder)) == study.printed["view"]
    client = MlflowClient(local_store(study.folder.parent))
    experiments = [each.experiment_id for each in client.search_experiments()]
    (parent,) = client.search_runs(experiments, "tags.kind = 'search' AND tags.study = 'main'")
    children = client.search_runs(experiments, "tags.kind = 'candidate' AND tags.study = 'main'")
    wanted = {each.id for device in FRONTS for each in study.front(device).candidates if each.on_front or each.finalist}
    assert parent.info.status == "FINISHED"
    assert {run.data.tags["candidate_id"] for run in children} == wanted
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    for run in children:
        assert {"accuracy_search", "latency_ms", "latency_ms_low", "energy_mj", "params", "size_mib"} <= set(run.data.metrics)
        assert run.data.tags["source_latency_ms"] == "predicted"
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert ("model.onnx" in files) == (run.data.tags["finalist"] == "true")
    assert {"front.json", "front.html", "front.png"} <= {file.path for file in client.list_artifacts(parent.info.run_id)}
    for device, told in zip(FRONTS, (0, TRIALS, TRIALS + MORE), strict=True):
        history = client.get_metric_history(parent.info.run_id, f"{device}/hypervolume")
        assert [point.step for point in history] == list(range(told + 1, CANDIDATES[device] + 1))
    (images,) = parent.inputs.dataset_inputs
    assert images.dataset.digest == study.front().data_fingerprint


@pytest.mark.parametrize("device", DEVICES)
def test_registered_models_predict_with_the_accuracy_shown(device: str, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", local_store(study.folder.parent))
    front, data = study.front(device), load_data("digits", 16, seed=1)
    pixels = data.test.images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    ends = {"fastest": front.front[0], "most-accurate": front.front[-1]}
    for alias, expected in ends.items():
        uri = f"models:/main-{device}@{alias}"
        by_pyfunc = mlflow.pyfunc.load_model(uri).predict(pixels)["logits"]
        session = onnxruntime.InferenceSession(mlflow.onnx.load_model(uri).SerializeToString(), providers=["CPUExecutionProvider"])
        for logits in (by_pyfunc, session.run(["logits"], {"images": pixels})[0]):
            assert float((np.argmax(logits, axis=1) == data.test.labels).mean()) == expected.value("accuracy_test")


def test_results_can_be_picked_exported_and_predicted(study: Study, nas: Nas, tmp_path: Path) -> None:
    runs, front = study.folder.parent, study.front()
    fastest = nas("pick", "main", "--runs", runs, "--fastest", "--json").json["candidate"]
    assert fastest["id"] == front.front[0].id
    ended = nas("export", "main", "--runs", runs, "--fastest", "--format", "openvino", "--out", tmp_path / "out", "--json")
    assert ended.code == 0, ended.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.xml", "model.bin", "labels.txt", "card.md", "architecture.json"}
    checks = json.loads((tmp_path / "out" / "architecture.json").read_text(encoding="utf-8"))["checks"]
    (check,) = [each for each in checks if each["file"] == "model.xml"]
    assert check["accuracy"] == fastest["metrics"]["accuracy_test"]["value"]
    assert check["max_error"] <= 1e-4
    small = nas("export", "main", "--runs", runs, "--fastest", "--precision", "int8", "--out", tmp_path / "out", "--json")
    assert (small.code, small.json["precision"]) == (0, "int8"), small.err
    assert (tmp_path / "out" / "model.int8.onnx").is_file()
    assert (tmp_path / "out" / "model.xml").is_file()  # what was there stays
    both = ("--format", "openvino", "--precision", "int8", "--out", tmp_path / "ir", "--json")
    assert nas("export", "main", "--runs", runs, "--fastest", *both).code == 0
    told = json.loads((tmp_path / "ir" / "check.json").read_text(encoding="utf-8"))
    assert (told["file"], told["precision"], told["images"]) == ("model.int8.xml", "int8", 360)
    assert told["accuracy"] > fastest["metrics"]["accuracy_test"]["value"] - 0.05
    rows = [line.split("|")[1].strip() for line in (tmp_path / "ir" / "card.md").read_text().splitlines() if line.startswith("| model.")]
    assert rows == ["model.int8.xml"]  # of the files that are beside it
    for kind in ("onnx", "architecture"):
        predicted = nas("predict", study.folder / fastest["artifacts"][kind], "-d", DEVICES[0], "--json").json["metrics"]
        assert predicted["latency_s"]["value"] == pytest.approx(fastest["metrics"]["latency_s"]["value"])


def test_rebuilt_from_the_storage_the_front_is_the_same(study: Study, nas: Nas, tmp_path: Path) -> None:
    shutil.copytree(study.folder, tmp_path / "main")
    derived = [*(tmp_path / "main").glob("front*"), *(tmp_path / "main").rglob("*.svg")]
    derived += [tmp_path / "main" / name for name in ("candidates.parquet", "hypervolume.png", "report.html")]
    for path in derived:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    ended = nas("studies", "rebuild", "main", "--runs", tmp_path, "--json")
    assert ended.code == 0, ended.err
    for device in FRONTS:
        before, after = (read_front(folder, device).to_dict() for folder in (study.folder, tmp_path / "main"))
        assert after | {"created": 0, "search": 0} == before | {"created": 0, "search": 0}
    tables = [pd.read_parquet(folder / "candidates.parquet") for folder in (study.folder, tmp_path / "main")]
    pd.testing.assert_frame_equal(*tables)
    for path in (path for path in study.folder.rglob("*") if path.suffix in (".svg", ".html") or path.name == "hypervolume.png"):
        again = tmp_path / "main" / path.relative_to(study.folder)
        assert again.read_bytes() == path.read_bytes() or path.name == "report.html", path  # which says how long it took
    assert (tmp_path / "main" / "report.html").is_file()


def test_a_seed_repeats_a_search(study: Study, nas: Nas, tmp_path: Path) -> None:
    """Supernet and all, in another folder: ids, genes, accuracies and predictions are the same."""
    options = ("--study", "again", "--runs", tmp_path, *QUICK, "--trials", TRIALS, "--finalists", "1")
    ended = nas("search", "-d", DEVICES[0], *options)
    assert ended.code == 0, ended.err
    first, again = study.front(), read_front(tmp_path / "again")
    assert [each.id for each in again.candidates] == [each.id for each in first.candidates]
    for one, other in zip(first.candidates, again.candidates, strict=True):
        assert one.candidate.arch == other.candidate.arch
        assert one.candidate.trial == other.candidate.trial
        known = other.candidate.metrics
        assert {name: metric for name, metric in one.candidate.metrics.items() if name in known} == dict(known)
    assert again.hypervolume == first.hypervolume
    assert [each.value("accuracy_test") for each in again.finalists] != [None]


def test_an_interrupted_search_goes_on_where_it_was(study: Study, nas: Nas) -> None:
    runs, trials = study.folder.parent, 16
    options = ("--study", "cut", "--runs", runs, *QUICK, "--trials", trials, "--finalists", "1")
    process = subprocess.Popen(command("search", "-d", DEVICES[0], *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log, deadline = EventLog(runs / "cut" / "log.jsonl"), time.monotonic() + 120
    while sum(event["kind"] == "trial" for event in log.read()) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "go on with nas search --resume cut" in err
    assert "Traceback" not in err
    done = states(runs / "cut").get("COMPLETE", 0)
    assert 2 <= done < trials
    assert not states(runs / "cut").get("RUNNING")

    # And now as if it had been killed at once: a trial is left that runs for ever.
    optuna.load_study(study_name=f"cut/{DEVICES[0]}", storage=f"sqlite:///{runs / 'cut' / 'study.db'}").ask()
    assert states(runs / "cut")["RUNNING"] == 1
    assert nas("search", "-d", DEVICES[0], *options).code == 2  # it exists
    stored = json.loads((runs / "cut" / "config.json").read_text(encoding="utf-8"))
    stored["config"]["recipe"]["finetune_epochs"] = 0  # not what is tested here
    (runs / "cut" / "config.json").write_text(json.dumps(stored), encoding="utf-8")
    ended = nas("search", "--resume", "cut", "--runs", runs, "--json")
    assert ended.code == 0, ended.err
    assert states(runs / "cut")["COMPLETE"] == trials
    assert not states(runs / "cut").get("RUNNING")
    assert len(pd.read_parquet(runs / "cut" / "candidates.parquet").arch_id.unique()) == trials
    assert len(ended.json["fronts"][0]["candidates"]) == trials
    assert "supernet found trained" in ended.err


@pytest.mark.usefixtures("quick_finalists")
def test_a_network_that_diverges_fails_its_trial_and_the_search_goes_on(study: Study, nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, extract = study.folder.parent, SupernetEvaluator.extract
    seen: list[str] = []

    def diverged(self: SupernetEvaluator, arch: Any) -> Any:
        network = extract(self, arch)
        seen.append(arch.arch_id)
        if len(seen) == 2:
            for parameter in network.parameters():
                parameter.data.fill_(float("nan"))
        return network

    monkeypatch.setattr(SupernetEvaluator, "extract", diverged)
    ended = nas("search", "-d", DEVICES[0], "--study", "nan", "--runs", runs, *QUICK, "--trials", "3", "--finalists", "1")
    assert ended.code == 0, ended.err
    assert "not finite" in ended.err
    assert states(runs / "nan") == {"COMPLETE": 3, "FAIL": 1}
    assert seen[1] not in {each.candidate.arch.arch_id for each in read_front(runs / "nan").candidates}


@pytest.mark.usefixtures("quick_finalists")
def test_a_finalist_that_fails_is_noted_and_the_search_goes_on(study: Study, nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise TrainingError("the loss is nan in step 3")

    monkeypatch.setattr("nas.search.finalists.fit", fail)
    uri = "http://127.0.0.1:1"  # nor does a dead tracking server stop it
    ended = nas(
        "search", "-d", DEVICES[0], "--study", "poor", "--runs", study.folder.parent, *QUICK, "--trials", "2", "--finalists", "1",
        "--tracking-uri", uri, "--json",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "failed as a finalist: the loss is nan in step 3" in ended.err
    assert f"warning: MLflow does not have all of this search, its files do (tracking to {uri} failed" in ended.err
    assert f"nas sync poor --runs {study.folder.parent}" in ended.err
    assert ended.json["view"] == ""
    store = f"sqlite:///{study.folder.parent / 'mlflow' / 'mlflow.db'}"
    assert nas("sync", "poor", "--runs", study.folder.parent, "--tracking-uri", store, "--json").json["sent"]["runs"] >= 2
    (front,) = ended.json["fronts"]
    assert not any(each["finalist"] for each in front["candidates"])
    assert any("the loss is nan" in each["note"] for each in front["candidates"])
