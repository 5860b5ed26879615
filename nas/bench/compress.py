"""What compression costs and saves: `nas bench compress`.

A search with `mobilenet_cifar` on the CIFAR-10 zip for a Raspberry Pi 4 starts from the supernet of `nas bench supernet` (runs/.cache,
or that of NAS_RUNS), networks of 5 M multiply-adds at most. Its finalists, fine-tuned for one epoch with the largest network as teacher,
are what is compressed: quantised after training and with rounding, pruned, made sparse, fine-tuned again without a teacher. Accuracies of
the marks are on the 10,000 test images; nothing is selected by them. `agree` and `card` look at the files themselves.
"""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

import nas.bench.check_export as script
from nas.architecture import BlockSpec
from nas.bench.outcome import Mark, Outcome
from nas.bench.supernet import long_training, say
from nas.compress.int8 import Int8Maker, calibration_pixels, pixels_of
from nas.compress.parity import Reference, check_onnx
from nas.compress.prune import Importance, importance, prune_to_latency, scale_to_latency
from nas.compress.qdq import export_fake_quant
from nas.compress.quantize import quantize
from nas.compress.sparse import sparse_copy, sparsity
from nas.config import MeasureProtocol, SearchConfig, TrainRecipe, default_recipe
from nas.cost import count
from nas.hardware.export import Deployed, export_blocks, export_onnx, export_openvino, fix_batch
from nas.hardware.measure import measure
from nas.hardware.predictor import LatencyPredictor
from nas.hardware.profile import load_profile
from nas.hardware.runtimes.loading import load_runtime
from nas.metrics import Constraint
from nas.models.folding import fold_batch_norm
from nas.models.network import Network, recalibrate
from nas.models.weights import load_weights
from nas.pipeline import Result
from nas.pipeline import run as search
from nas.report.front import CandidateRecord
from nas.search.artifacts import FILES, ArtifactMaker
from nas.search.evaluators import EvaluatorContext
from nas.search.finalists import FinalistMaker
from nas.training.batches import Batches, tensors
from nas.training.data import ImageData
from nas.training.evaluate import accuracy, calibration_images
from nas.training.finetune import fit
from nas.training.loop import TrainProgress

__all__ = ["run"]

DEVICE, STUDY = "raspberrypi4", "compress"
TRIALS, FINALISTS, MOST_MACS = 12, 3, 5_000_000
QAT_S, PRUNE_S, PRUNE_EPOCHS, SPARSE_S = 60.0, 300.0, 1, 45.0
SHARE = 0.7
"""Of the predicted latency, for pruning."""
SPARSITIES = (0.5, 0.75, 0.9)
TAYLOR_BATCHES = 16
SMALLEST_PARAMS = 200_000
"""Of networks whose size is marked: in smaller ones names and scales weigh as much as weights."""
LEAST_QUIET = MeasureProtocol(windows=3, max_repeats=50)
Row = dict[str, float | str | bool]


@dataclass(frozen=True)
class _Finalist:
    """A finalist of the search with its trained network."""

    record: CandidateRecord
    network: Network
    home: Path

    @property
    def test(self) -> float:
        return self.record.candidate.metrics["accuracy_test"].value


@dataclass(frozen=True)
class _Bench:
    """What the parts share."""

    folder: Path
    context: EvaluatorContext
    data: ImageData
    recipe: TrainRecipe
    finalists: tuple[_Finalist, ...]
    predictor: LatencyPredictor
    smoke: bool


def run(data: Path, smoke: bool) -> Outcome:
    """Marks ptq-drop, qat-drop, int8-size, agree, prune, distil, card, export-s, and what sparse weights give.

    Args:
        data: folder of the CIFAR-10 zip.
        smoke: digits, one finalist, hardly any training: that it runs, not how good it is.
    """
    with tempfile.TemporaryDirectory(prefix="nas-bench-") as folder:
        runs = Path(folder) / "runs"
        shared = runs if smoke else Path(os.environ.get("NAS_RUNS") or "runs")
        job, name = long_training(data, shared, smoke)
        weights = job.run(say, lambda: False).path
        recipe = (default_recipe("digits") if smoke else TrainRecipe()).model_copy(update={"epochs": 0, "finetune_epochs": 1})
        result = _search(name, job.space.name, recipe, weights, runs, smoke)
        context = EvaluatorContext(job.space, name, 0, runs / ".cache", weights, recipe=recipe)
        profile = load_profile(DEVICE)
        bench = _Bench(
            Path(folder), context, context.images(job.space.resolutions[-1]), recipe, _finalists(result),
            profile.predictor(profile.target()),
            smoke,
        )  # fmt: skip
        rows: list[Row] = []
        parts: tuple[Callable[[_Bench, list[Row]], list[Mark]], ...] = (_int8, _size, _agree, _prune, _distil, _card, _export, _sparse)
        marks = [mark for part in parts for mark in part(bench, rows)]
    return Outcome(rows, marks)


def _search(name: str, space: str, recipe: TrainRecipe, weights: Path, runs: Path, smoke: bool) -> Result:
    config = SearchConfig(
        study=STUDY, devices=(DEVICE,), space=space, data=name, recipe=recipe, weights=str(weights), trials=3 if smoke else TRIALS,
        finalists=1 if smoke else FINALISTS, constraints=() if smoke else (Constraint("macs", MOST_MACS),),
    )  # fmt: skip
    return search(config, runs, say, lambda: False)


def _finalists(result: Result) -> tuple[_Finalist, ...]:
    found = []
    for record in result.fronts[0].finalists:
        home = (result.folder / record.artifacts["onnx"]).parent
        told = json.loads((home / FILES["architecture"]).read_text(encoding="utf-8"))
        network = Network([BlockSpec.from_dict(block) for block in told["blocks"]])
        network.load_state_dict(load_weights(home / FILES["weights"])[0])
        found.append(_Finalist(record, network.eval(), home))
    return tuple(found)


def _int8(bench: _Bench, rows: list[Row]) -> list[Mark]:
    """Both ways for every finalist, whether the first was enough or not."""
    maker = Int8Maker(bench.data, bench.recipe, 0)
    drops: dict[str, list[float]] = {"after": [], "aware": []}
    for each in bench.finalists:
        after, aware = bench.folder / "after.onnx", bench.folder / "aware.onnx"
        quantize(each.home / FILES["onnx_dynamic"], after, calibration_pixels(bench.data))
        fake = maker.train(each.network, 1.0 if bench.smoke else QAT_S)
        export_fake_quant(fake, bench.data.mean, bench.data.std, aware, {})
        found = {"after": _test_accuracy(after, bench.data), "aware": _test_accuracy(aware, bench.data)}
        for way, value in found.items():
            drops[way].append(100 * (each.test - value))
        rows.append({
            "finalist": each.record.id, "params": float(count(each.network.blocks).params), "fp32": each.test,
            "int8 after training": found["after"], "int8 trained with rounding": found["aware"],
        })  # fmt: skip
    few = "few images or little training"
    return [
        Mark("ptq-drop", "points of test accuracy lost by int8 after training, mean", _mean(drops["after"]), 1.0, "lower", few),
        Mark(
            "qat-drop", f"the same trained with rounding for {QAT_S:.0f} s at most", _mean(drops["aware"]), 0.4, "lower", few,
        ),
    ]  # fmt: skip


def _test_accuracy(path: Path, data: ImageData) -> float:
    """Of a file with an open batch, on the test images."""
    batches = list(pixels_of(data.test))
    unknown = tuple(np.zeros((len(labels), data.num_classes), np.float32) for _, labels in batches)
    return check_onnx(path, Reference(lambda: batches, unknown), tolerance=float("inf")).accuracy


def _size(bench: _Bench, rows: list[Row]) -> list[Mark]:
    """Of the finalists, and of the largest network, whose weights are many enough."""
    space, ratios = bench.context.space, []
    largest = space.decode(space.largest)
    export_blocks(largest, bench.folder / "largest.onnx")
    quantize(bench.folder / "largest.onnx", bench.folder / "largest.int8.onnx", calibration_pixels(bench.data)[:1])
    pairs = [(each.record.id, each.network.blocks, each.home / FILES["onnx"], each.home / FILES["onnx_int8"]) for each in bench.finalists]
    for name, blocks, whole, small in [*pairs, ("largest", largest, bench.folder / "largest.onnx", bench.folder / "largest.int8.onnx")]:
        if not small.is_file():
            continue
        params, ratio = count(blocks).params, small.stat().st_size / whole.stat().st_size
        rows.append({"size of": name, "params": float(params), "fp32_bytes": float(whole.stat().st_size), "int8 over fp32": ratio})
        if params >= SMALLEST_PARAMS or bench.smoke:
            ratios.append(ratio)
    what = "model.int8.onnx over model.onnx, bytes, worst of the networks with 200 k weights or more"
    return [Mark("int8-size", what, max(ratios), 0.33, "lower", "names, scales and the description of the network weigh too")]


def _agree(bench: _Bench, rows: list[Row]) -> list[Mark]:
    shares = []
    for each in bench.finalists:
        told = json.loads((each.home / FILES["architecture"]).read_text(encoding="utf-8"))["checks"]
        shares += [100 * check["agreement"] for check in told if check["precision"] == "fp32"]
        shown = ("file", "runtime", "precision", "images", "agreement", "max_error")
        rows += [{"file of": each.record.id, **{key: check[key] for key in shown}} for check in told]
    what = f"per cent of {len(bench.data.test)} test images with the same class in torch and in ONNX Runtime and OpenVINO fp32, worst"
    return [Mark("agree", what, min(shares), 99.9, "higher", "a bug")]


def _prune(bench: _Bench, rows: list[Row]) -> list[Mark]:
    """The slowest finalist, and the same latency by uniform widths, with the same weighing of channels and the same fine-tuning."""
    each = max(bench.finalists, key=lambda each: each.record.candidate.metrics["latency_s"].value)
    recipe = bench.recipe.model_copy(update={"batch_size": 128})
    batches = [batch for batch, _ in zip(Batches.of(bench.data, recipe, 0).epoch(0), range(TAYLOR_BATCHES), strict=False)]
    scores = importance(each.network, batches)
    ways: dict[str, Callable[[Network, Importance, LatencyPredictor, float], Network]] = {
        "by importance and saving": prune_to_latency, "uniform widths": scale_to_latency,
    }  # fmt: skip
    lost = {}
    for name, way in ways.items():
        smaller = way(each.network, scores, bench.predictor, SHARE)
        correct, total, seconds = _tuned(bench, smaller, PRUNE_EPOCHS, 1.0 if bench.smoke else PRUNE_S)
        lost[name] = 100 * (each.test - correct / total)
        latency_s = bench.predictor.predict(smaller.blocks).value
        rows.append({
            "pruning": name, "of": each.record.id, "predicted latency kept": latency_s / bench.predictor.predict(each.network.blocks).value,
            "params": float(count(smaller.blocks).params), "accuracy_test": correct / total, "points lost": lost[name],
            "fine-tuning_s": seconds,
        })  # fmt: skip
    ours, peer = lost.values()
    what = f"points of test accuracy lost at {SHARE:.0%} of the predicted latency after {PRUNE_S / 60:.0f} minutes of fine-tuning at most"
    return [
        Mark("prune", what, ours, 1.5, "lower", "the networks are small already and the fine-tuning short"),
        Mark(
            "prune-peer", "points better than uniform widths, same budget", peer - ours, 0.0, "higher", "a tie within the noise of training"
        ),
    ]


def _tuned(bench: _Bench, network: Network, epochs: int, budget_s: float) -> tuple[int, int, float]:
    """Test images right, all of them, seconds: of a network fine-tuned in place."""
    recalibrate(network, calibration_images(bench.data))
    fitted = fit(network, None, bench.data, bench.recipe, 0, epochs=epochs, lr=bench.recipe.finetune_lr, budget_s=budget_s)
    correct, total = accuracy(fold_batch_norm(network), tensors(bench.data.test, bench.data.mean, bench.data.std, 256))
    return correct, total, fitted.seconds


def _distil(bench: _Bench, rows: list[Row]) -> list[Mark]:
    """The finalists once more, without the teacher's part of the loss."""
    alone = bench.recipe.model_copy(update={"distill_weight": 0.0})
    maker = FinalistMaker(replace(bench.context, recipe=alone), alone, bench.folder / "alone", None)
    gains = []
    for each in bench.finalists:
        made = maker.make(each.record.candidate, None, _untold, lambda: False)
        without = made.candidate.metrics["accuracy_test"].value
        gains.append(100 * (each.test - without))
        rows.append({"distillation of": each.record.id, "with": each.test, "without": without, "gain, points": gains[-1]})
    what = f"points of test accuracy gained by the teacher over the same fine-tuning without, mean of {len(gains)} finalists"
    why = "one epoch from weights that were distilled in the supernet already"
    return [Mark("distil", what, _mean(gains), 0.3, "higher", why)]


def _card(bench: _Bench, rows: list[Row]) -> list[Mark]:
    """Card and record against MLflow's store and against a script that knows nothing of hwnas."""
    worst = 0.0
    images = Path(bench.context.data)
    for each in bench.finalists:
        with sqlite3.connect(bench.folder / "runs" / "mlflow" / "mlflow.db") as store:
            tracked = store.execute(
                "SELECT m.value FROM latest_metrics m JOIN tags t ON m.run_uuid = t.run_uuid "
                "WHERE m.key = 'accuracy_test' AND t.key = 'candidate_id' AND t.value = ?", (each.record.id,)
            ).fetchone()  # fmt: skip
        off = abs(tracked[0] - each.test)
        if images.exists():
            command = [sys.executable, script.__file__, str(each.home), str(images)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
            found = json.loads(done.stdout)
            off = max(off, found["largest_difference"], abs(found["accuracy"]["model.onnx"] - each.test))
            rows += [{"script on": each.record.id, "file": file, "accuracy": value} for file, value in found["accuracy"].items()]
        worst = max(worst, off)
    return [Mark("card", "largest difference of test accuracy: card, MLflow, independent script", worst, 0.0, "lower", "see the rows")]


def _export(bench: _Bench, rows: list[Row]) -> list[Mark]:
    """Files and checks of each finalist again, without any training."""
    maker, times = ArtifactMaker(bench.data, bench.recipe.model_copy(update={"finetune_epochs": 0}), 0), []
    for number, each in enumerate(bench.finalists):
        place = bench.folder / f"export-{number}"
        place.mkdir()
        started = time.perf_counter()
        maker.write(place, each.network, each.record.candidate.arch, "", None, _untold, lambda: False)
        times.append(time.perf_counter() - started)
    rows.append({"exports": float(len(times)), "median_s": statistics.median(times), "slowest_s": max(times)})
    return [
        Mark("export-s", "seconds to export a finalist with all checks: fp32, int8, IR; slowest", max(times), 20.0, "lower", "busy machine")
    ]


def _sparse(bench: _Bench, rows: list[Row]) -> list[Mark]:
    """A table, no mark: what zeros without structure give."""
    each = min(bench.finalists, key=lambda each: each.record.candidate.metrics["latency_s"].value)
    for share in (0.0, *SPARSITIES[: 1 if bench.smoke else None]):
        network = each.network if not share else sparse_copy(each.network, share)
        reached = each.test
        if share:
            correct, total, _ = _tuned(bench, network, 1, 1.0 if bench.smoke else SPARSE_S)
            reached = correct / total
        path = bench.folder / f"sparse-{share:g}.onnx"
        export_onnx(Deployed(network, bench.data.mean, bench.data.std), network.blocks, path, {})
        fix_batch(path, path)
        export_openvino(path, path.with_suffix(".xml"))
        rows.append({
            "zeros": sparsity(network), "accuracy_test": reached, "bytes": float(path.stat().st_size),
            "bytes, compressed": float(len(gzip.compress(path.read_bytes()))),
            "onnxruntime_ms": _latency_ms("onnxruntime", path), "openvino_ms": _latency_ms("openvino", path.with_suffix(".xml")),
        })  # fmt: skip
    return []


def _latency_ms(runtime: Literal["onnxruntime", "openvino"], path: Path) -> float:
    with load_runtime(runtime).open(path, 1) as once:
        return 1e3 * float(np.median(measure(once, LEAST_QUIET).labels_s()))


def _untold(progress: TrainProgress) -> None:
    """Progress of a part that takes a minute."""
    del progress


def _mean(values: list[float]) -> float:
    return statistics.fmean(values)
