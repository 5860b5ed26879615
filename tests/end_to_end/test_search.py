"""From a chip's name to files that hold what they say."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from mlflow import MlflowClient

from nas.metrics import SOURCES, UNITS
from nas.report.tracking import local_store
from nas.training.data import load_data
from tests.end_to_end.conftest import QUICK, nas


def front(home: Path, study: str = "first", device: str = "raspberrypi4") -> dict[str, Any]:
    data: dict[str, Any] = json.loads((home / "runs" / study / "fronts" / f"{device}.json").read_text())
    return data


def evaluated(record: dict[str, Any]) -> dict[str, tuple[Any, float]]:
    """Genes and search accuracy by architecture."""
    return {c["arch_id"]: (c["architecture"]["genes"], c["metrics"]["accuracy_search"]["value"]) for c in record["candidates"]}


def test_every_number_says_where_it_comes_from(home: Path) -> None:
    for device, candidates in (("raspberrypi4", 10), ("pixel3", 13)):
        record = front(home, device=device)
        assert record["schema"] == 1
        assert len(record["candidates"]) == candidates
        assert 1 <= sum(c["on_front"] for c in record["candidates"]) <= candidates
        for candidate in record["candidates"]:
            assert {"accuracy_search", "latency_s", "energy_j", "macs", "params", "size_bytes", "peak_memory_bytes"} <= candidate[
                "metrics"
            ].keys()
            for name, metric in candidate["metrics"].items():
                assert metric["source"] in SOURCES
                assert metric["unit"] == UNITS[name]
            assert candidate["metrics"]["accuracy_search"]["std"] > 0
            latency = candidate["metrics"]["latency_s"]
            assert 0 < latency["low"] < latency["value"] < latency["high"]
            assert ("accuracy_test" in candidate["metrics"]) == candidate["finalist"]
    files = {path.name for path in (home / "runs" / "first").iterdir()}
    assert {"config.json", "study.db", "candidates.parquet", "front.json", "front.csv", "front.html", "front.png", "log.jsonl"} <= files


def test_the_exported_file_has_exactly_the_accuracy_of_the_table(home: Path) -> None:
    data = load_data("digits", 16, seed=3)
    pixels = data.test.images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    finalists = [c for c in front(home)["candidates"] if c["finalist"]]
    assert len(finalists) == 2
    for candidate in finalists:
        folder = home / "runs" / "first" / "models" / candidate["id"]
        session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
        predicted = np.array([session.run(["logits"], {"images": one[None]})[0].argmax() for one in pixels])
        assert (predicted == data.test.labels).mean() == candidate["metrics"]["accuracy_test"]["value"]
        assert candidate["metrics"]["accuracy_test"]["source"] == "trained"
        assert candidate["id"] in (folder / "card.md").read_text()
        assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list(data.classes)


def test_the_second_device_evaluates_only_what_is_new(home: Path) -> None:
    first, second = evaluated(front(home)), evaluated(front(home, device="pixel3"))
    shared = first.keys() & second.keys()
    assert shared
    assert all(first[arch] == second[arch] for arch in shared)


def test_a_search_can_be_repeated(home: Path, tmp_path: Path) -> None:
    done = nas(tmp_path, *QUICK, "--study", "again", "--json")
    assert done.code == 0, done.err
    assert evaluated(done.json["fronts"][0]) == evaluated(front(home))
    accuracies = [
        {c["id"]: c["metrics"]["accuracy_test"]["value"] for c in record["candidates"] if c["finalist"]}
        for record in (done.json["fronts"][0], front(home))
    ]
    assert accuracies[0] == accuracies[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_search_goes_on(home: Path, number: signal.Signals) -> None:
    study = f"cut-{number.name.lower()}"
    arguments = [*QUICK, "--trials", "30", "--study", study]
    process = subprocess.Popen(
        [sys.executable, "-m", "nas", *arguments], cwd=home, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )  # fmt: skip
    log = home / "runs" / study / "log.jsonl"
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if log.is_file() and log.read_text().count('"kind": "trial"') >= 3:
            process.send_signal(number)
            break
        time.sleep(0.02)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == (130 if number == signal.SIGINT else -number), errors
    done = nas(home, "search", "--resume", study, "--json")
    assert done.code == 0, done.err
    record = done.json["fronts"][0]
    assert len(record["candidates"]) == len(evaluated(record)) == 30
    with sqlite3.connect(home / "runs" / study / "study.db") as storage:
        states = dict(storage.execute("SELECT state, COUNT(*) FROM trials GROUP BY state").fetchall())
    storage.close()
    assert states.get("RUNNING", 0) == states.get("WAITING", 0) == 0
    assert states["COMPLETE"] == 30
    client = MlflowClient(local_store(home / "runs"))
    ids = [each.experiment_id for each in client.search_experiments()]
    (parent,) = client.search_runs(ids, f"tags.kind = 'search' AND tags.study = '{study}'")  # the one that was cut off, taken up again
    assert parent.info.status == "FINISHED"
    history = client.get_metric_history(parent.info.run_id, "raspberrypi4/hypervolume")
    steps = [point.step for point in history]
    assert steps == sorted(set(steps))
    assert len(steps) >= 29  # killed between a trial and the log's line of it, one is missing


def test_what_comes_after_a_search(home: Path, tmp_path: Path) -> None:
    record = front(home)
    assert nas(home, "front", "first", "--json").json == json.loads((home / "runs" / "first" / "front.json").read_text())
    assert nas(home, "front", "first", "--csv").out.count("\n") == 11
    slowest = max(c["metrics"]["latency_s"]["value"] for c in record["candidates"] if c["on_front"])
    picked = nas(home, "pick", "first", "--max-latency", f"{slowest * 1001:.6f}ms", "--json").json["candidate"]
    best = max(c["metrics"]["accuracy_search"]["value"] for c in record["candidates"] if c["on_front"])
    assert picked["metrics"]["accuracy_search"]["value"] == best
    assert nas(home, "pick", "first", "--max-latency", "1us").code == 3
    out = tmp_path / "shipped"
    assert nas(home, "export", "first", "--fastest", "--format", "openvino", "--out", str(out)).code == 0
    assert {"model.xml", "model.bin", "card.md", "architecture.json"} <= {path.name for path in out.iterdir()}
    known = next(c for c in record["candidates"] if c["finalist"])
    model = home / "runs" / "first" / known["artifacts"]["onnx"]
    predicted = nas(home, "predict", str(model), "--device", "raspberrypi4", "--json").json
    assert predicted["metrics"]["latency_s"]["value"] == pytest.approx(known["metrics"]["latency_s"]["value"])
    before = front(home)
    assert nas(home, "studies", "rebuild", "first").code == 0
    after = front(home)
    assert after["candidates"] == before["candidates"]
    assert after["hypervolume"] == before["hypervolume"]
    assert {each["study"] for each in nas(home, "studies", "--json").json["studies"]} >= {"first"}


def test_bad_input_is_answered_in_a_line_or_two(home: Path, tmp_path: Path) -> None:
    (tmp_path / "one" / "train" / "cat").mkdir(parents=True)
    (tmp_path / "typo.yaml").write_text("schema: 1\nname: typo\nsource: ours\nresolution: 16\nstem: {out_chs: 16}\nstagse: []\nhead: []\n")
    file = tmp_path / "file"
    file.write_text("")
    cases: list[tuple[int, tuple[str, ...], str]] = [
        (2, ("search", "--device", "raspberypi4"), "raspberrypi4"),
        (2, ("search", "--device", "raspberrypi4", "--data", "cifar10"), "folder"),
        (2, ("search", "--device", "raspberrypi4", "--data", str(tmp_path / "one")), "one"),
        (2, ("search", "--device", "raspberrypi4", "--space", "mobilenet_tinny"), "mobilenet_tiny"),
        (2, ("search", "--device", "raspberrypi4", "--space", str(tmp_path / "typo.yaml")), "stages"),
        (2, ("search", "--device", "raspberrypi4", "--trials", "0"), "trials"),
        (2, ("search", "--device", "raspberrypi4", "--runs", str(file / "runs")), "cannot"),
        (2, ("search", "--device", "raspberrypi4", "--study", "first"), "--resume"),
        (2, ("search", "--device", "raspberrypi4", "--max-latency", "25 parsecs"), "ms"),
        (3, ("search", "--device", "raspberrypi4", "--max-latency", "1us"), "the fastest of"),
        (2, ("search", "--resume", "frist"), "first"),
        (2, ("front", "frist"), "first"),
        (2, ("predict", "mobilenet_v9", "--device", "raspberrypi4"), "mobilenet_v2"),
        (2, ("predict", "mobilenet_v2", "--device", "raspberrypi4", "--precision", "int8"), "int8"),
    ]
    for code, arguments, word in cases:
        done = nas(home, *arguments)
        assert done.code == code, (arguments, done.err)
        assert word in done.err, (arguments, done.err)
        assert "Traceback" not in done.err
        assert len(done.err.strip().splitlines()) <= 3, (arguments, done.err)
    assert {path.name for path in (home / "runs").iterdir() if not path.name.startswith((".", "cut-"))} == {"first", "mlflow"}


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0"])
def test_predict_has_the_form_of_the_design(tmp_path: Path, name: str) -> None:
    found = nas(tmp_path, "predict", name, "--device", "raspberrypi4", "--json").json
    always = {"schema", "model", "target", "in_range", "metrics", "blocks"}
    assert found.keys() == always
    assert found["metrics"]["latency_s"].keys() == {"value", "low", "high", "unit", "source"}
    total = sum(block["latency_s"]["value"] for block in found["blocks"])
    assert total == pytest.approx(found["metrics"]["latency_s"]["value"], rel=0.02)
