"""Folders of studies as a search leaves them: configuration, log, fronts, and finalists that really classify digits."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression

from nas.config import check_config
from nas.files import write_atomic
from nas.metrics import Metric
from nas.report.front import CandidateRecord, FrontRecord
from nas.report.record import EventLog, write_front
from nas.report.tracking import BEGIN, END, LOG
from nas.training.data import ImageData, load_data

COST: Mapping[str, float | str] = MappingProxyType({
    **{f"cost_{name}_s": seconds for name, seconds in (("training", 60.0), ("evaluation", 30.0), ("measuring", 0.0), ("other", 5.0))},
    **{f"cost_{name}_kwh": kwh for name, kwh in (("training", 0.0012), ("evaluation", 0.0006), ("measuring", 0.0), ("other", 0.0001))},
    **{f"cost_{name}_co2e_kg": kg for name, kg in (("training", 6e-5), ("evaluation", 3e-5), ("measuring", 0.0), ("other", 5e-6))},
    "cost_kwh": 0.0019, "cost_co2e_kg": 9.5e-5, "cost_scope": "this machine: processor, memory, GPUs", "cost_source": "modelled",
    "cost_method": "CodeCarbon 3, no counter may be read: constant watts of the processor's class", "cost_grid": "France 2023",
})  # fmt: skip
"""What a search itself cost, as the record has it."""


@cache
def digits() -> ImageData:
    return load_data("digits", 8, seed=0)


@cache
def classifier(strength: float = 1.0) -> tuple[bytes, float]:
    """A linear classifier of digits as an ONNX file, and its accuracy on the test images."""
    data = digits()
    pixels, tested = (each.images.reshape(len(each), -1).astype(np.float32) / 255 for each in (data.train, data.test))
    fitted = LogisticRegression(C=strength, max_iter=200).fit(pixels, data.train.labels)
    weights, bias = fitted.coef_.T.astype(np.float32), fitted.intercept_.astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["images"], ["flat"]), helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"])],
        "digits",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    right = (tested @ weights + bias).argmax(axis=1) == data.test.labels
    return model.SerializeToString(), float(right.mean())


def write_study(runs: Path, fronts: Sequence[FrontRecord], trials: int = 5, tracking_uri: str | None = None) -> Path:
    """A finished study with a front for each device; its finalists are exported, and their test accuracy is that of the file."""
    first = fronts[0]
    folder = runs / first.study
    config = check_config({
        "study": first.study, "devices": tuple(front.device for front in fronts), "space": "mobilenet_tiny", "data": "digits",
        "trials": trials, "tracking_uri": tracking_uri, "recipe": {"lr": 0.2},
    })  # fmt: skip
    targets = [front.candidates[0].candidate.target.to_dict() for front in fronts if front.candidates]
    facts = {
        "schema": 1,
        "id": uuid.uuid4().hex,
        "config": json.loads(config.model_dump_json()),
        "versions": {"hwnas": "0.1.0"},
        "git_commit": "",
        "space": first.space,
    }
    write_atomic(folder / "config.json", json.dumps({**facts, "data": digits().to_dict() | {"name": first.data}, "targets": targets}))
    log = EventLog(folder / LOG)
    log.append(BEGIN)
    log.append("epoch", {"epoch": 1, "largest": 0.8, "smallest": 0.5})
    for front in fronts:
        for trial in range(trials):
            fields = {"device": front.device, "candidates": trial + 1, "hypervolume": 0.002 * trial, "best_accuracy": 0.9 + 0.01 * trial}
            log.append("trial", fields)
    for number, front in enumerate(fronts):
        write_front(folder, exported(folder, front), first=number == 0)
    log.append(END, {"status": "FINISHED", "cost": dict(COST)})
    return folder


def exported(folder: Path, front: FrontRecord) -> FrontRecord:
    """The front with files of its finalists."""
    return replace(front, candidates=tuple(_exported(folder, each, number) for number, each in enumerate(front.candidates)))


def _exported(folder: Path, each: CandidateRecord, number: int) -> CandidateRecord:
    if not each.finalist:
        return each
    model, accuracy = classifier(0.01 * (number + 1))
    home = folder / "models" / each.id
    write_atomic(home / "model.onnx", model)
    write_atomic(home / "card.md", f"# {each.id}\n")
    write_atomic(home / "architecture.json", json.dumps(each.candidate.arch.to_dict()))
    files = {"onnx": "model.onnx", "card": "card.md", "architecture": "architecture.json"}
    metrics = {**each.candidate.metrics, "accuracy_test": Metric(accuracy, "1", "trained", std=0.01)}
    artifacts = {kind: f"models/{each.id}/{name}" for kind, name in files.items()}
    return replace(each, candidate=replace(each.candidate, metrics=metrics), artifacts=artifacts)
