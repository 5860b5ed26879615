"""What smaller, sparser and untaught networks cost and save, in `nas bench compress`."""

from __future__ import annotations

import copy
import gzip
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from nas.bench.outcome import Mark
from nas.bench.pieces import Row
from nas.bench.workbench import Compressed, Workbench, mean, untold
from nas.compress.prune import Images, LatencyOf, prune_to_latency, scale_to_latency
from nas.compress.sparse import sparse_copy, sparsity
from nas.config import MeasureProtocol
from nas.cost import count
from nas.hardware.export import Deployed, export_onnx, export_openvino, fix_batch
from nas.hardware.measure import measure
from nas.hardware.runtimes.loading import load_runtime
from nas.metrics import Candidate, standard_error
from nas.models.folding import fold_batch_norm
from nas.models.network import Network, recalibrate
from nas.search.artifacts import FILES
from nas.search.finalists import FinalistMaker
from nas.search.pruned import weighing_batches
from nas.training.batches import tensors
from nas.training.evaluate import accuracy, calibration_images
from nas.training.finetune import fit

__all__ = ["SETTINGS", "distil", "prune", "sparse"]

PRUNE_S, PRUNE_EPOCHS, SPARSE_EPOCHS, TEACHER_EPOCHS = 300.0, 10, 1, 6
"""Of fine-tuning; that of pruned networks ends with the first of the two."""
SHARE = 0.7
"""Of the predicted latency, for pruning."""
SPARSITIES = (0.0, 0.5, 0.75, 0.9)
QUIET = MeasureProtocol(windows=3, max_repeats=50)
SETTINGS: dict[str, object] = {
    "prune_s": PRUNE_S, "prune_epochs": PRUNE_EPOCHS, "share": SHARE, "sparsities": SPARSITIES, "sparse_epochs": SPARSE_EPOCHS,
    "teacher_epochs": TEACHER_EPOCHS,
}  # fmt: skip
"""All that decides what is found here, besides data and weights."""


def prune(bench: Workbench, rows: list[Row]) -> list[Mark]:
    """The slowest finalist and, with the same weighing of channels and the same fine-tuning, the same latency by uniform widths. What the
    fine-tuning alone gives is told beside."""
    each = max(bench.finalists, key=lambda each: each.record.candidate.metrics["latency_s"].value)
    ways: dict[str, Callable[[Network], Network]] = {
        "importance and saving": lambda network: _narrowed(bench, network, prune_to_latency),
        "uniform widths": lambda network: _narrowed(bench, network, scale_to_latency),
        "none, fine-tuning alone": copy.deepcopy,
    }
    found = [
        bench.pieces.once(f"prune-{number}-{each.record.id}", partial(_pruned, bench, each, name, way))
        for number, (name, way) in enumerate(ways.items())
    ]
    rows += found
    ours, peer = (float(row["points lost"]) for row in found[:2])
    what = f"points of test accuracy lost at {SHARE:.0%} of the predicted latency after {PRUNE_S / 60:.0f} minutes of fine-tuning at most"
    total = len(bench.data.test)
    error = 100 * math.hypot(*(standard_error(round(float(row["accuracy_test"]) * total), total) for row in found[:2]))
    noise = f"one standard error of a difference on {total:,} test images is {error:.2f} points"
    kept = [f"{float(row['predicted latency kept']):.0%}" for row in found[:2]]
    apart = f"{kept[0]} of the latency is left, and {kept[1]} with uniform widths; {noise}"
    return [
        Mark("prune", what, ours, 1.5, "lower", f"fine-tuning alone loses {float(found[2]['points lost']):.2f}; {noise}"),
        Mark("prune-peer", "points better than uniform widths, same budget", peer - ours, 0.0, "higher", apart),
    ]


def _narrowed(bench: Workbench, network: Network, way: Callable[[Network, Images, LatencyOf, float], Network]) -> Network:
    batches = weighing_batches(bench.data, bench.recipe, 0)
    return way(network, batches, lambda blocks: bench.predictor.predict(blocks).value, SHARE)


def _pruned(bench: Workbench, each: Compressed, name: str, way: Callable[[Network], Network]) -> Row:
    started = time.perf_counter()
    smaller = way(each.network)
    took_s, before = time.perf_counter() - started, _tested(smaller, bench)
    seconds = _tune(bench, smaller, PRUNE_EPOCHS, PRUNE_S)
    reached = _tested(smaller, bench)
    latency_s = bench.predictor.predict(smaller.blocks).value
    return {
        "pruning": name, "of": each.record.id, "predicted latency kept": latency_s / bench.predictor.predict(each.network.blocks).value,
        "params": float(count(smaller.blocks).params), "before fine-tuning": before, "accuracy_test": reached,
        "points lost": 100 * (each.test - reached), "pruning_s": took_s, "fine-tuning_s": seconds,
    }  # fmt: skip


def _tune(bench: Workbench, network: Network, epochs: int, budget_s: float | None = None) -> float:
    """Fine-tunes in place on the labels, as a search does; seconds that it took."""
    epochs, budget_s = (1, 1.0) if bench.smoke else (epochs, budget_s)
    recalibrate(network, calibration_images(bench.data))
    return fit(network, None, bench.data, bench.recipe, 0, epochs=epochs, lr=bench.recipe.finetune_lr, budget_s=budget_s).seconds


def _tested(network: Network, bench: Workbench) -> float:
    """Accuracy on the test images."""
    correct, total = accuracy(fold_batch_norm(network), tensors(bench.data.test, bench.data.mean, bench.data.std, 64))
    return correct / total


def distil(bench: Workbench, rows: list[Row]) -> list[Mark]:
    """The finalists once more, with a user's own teacher: the largest network, fine-tuned itself first. As it is in the supernet it has
    taught them already (docs/evaluators.md)."""
    largest = bench.context.space.largest
    candidate = Candidate(largest, bench.finalists[0].record.candidate.target, {})
    rows.append(teacher := bench.pieces.once(f"teacher-{candidate.id}", partial(_teacher, bench, candidate)))
    path = bench.pieces.folder / "teacher" / "models" / candidate.id / FILES["onnx_dynamic"]
    found = [bench.pieces.once(f"distil-{each.record.id}", partial(_distilled, bench, each, path)) for each in bench.finalists]
    rows += found
    what = f"points of test accuracy gained by the teacher over the same fine-tuning without, mean of {len(found)} finalists"
    why = f"the teacher, right on {float(teacher['accuracy_test']):.1%} of the test images, taught the finalists in the supernet already"
    return [Mark("distil", what, mean([float(row["gain, points"]) for row in found]), 0.3, "higher", why)]


def _teacher(bench: Workbench, candidate: Candidate) -> Row:
    recipe = bench.recipe.model_copy(update={"finetune_epochs": 1 if bench.smoke else TEACHER_EPOCHS})
    began = time.perf_counter()
    made = FinalistMaker(bench.context, recipe, bench.pieces.folder / "teacher", None).make(candidate, None, untold, lambda: False)
    return {
        "teacher": candidate.id, "accuracy_test": made.candidate.metrics["accuracy_test"].value, "fine-tuning": made.note,
        "seconds": time.perf_counter() - began,
    }  # fmt: skip


def _distilled(bench: Workbench, each: Compressed, teacher: Path) -> Row:
    maker = FinalistMaker(bench.context, bench.recipe, bench.pieces.folder / "taught", None, teacher)
    taught = maker.make(each.record.candidate, None, untold, lambda: False).candidate.metrics["accuracy_test"].value
    return {"distillation of": each.record.id, "with": taught, "without": each.test, "gain, points": 100 * (taught - each.test)}


def sparse(bench: Workbench, rows: list[Row]) -> list[Mark]:
    """A table, no mark: what zeros without structure give, in the fastest finalist."""
    each = min(bench.finalists, key=lambda each: each.record.candidate.metrics["latency_s"].value)
    shares = SPARSITIES[: 2 if bench.smoke else None]
    rows += [bench.pieces.once(f"sparse-{share:g}-{each.record.id}", partial(_zeroed, bench, each, share)) for share in shares]
    return []


def _zeroed(bench: Workbench, each: Compressed, share: float) -> Row:
    """The finalist with that share of zeros, fine-tuned for an epoch; as it is without any."""
    network = sparse_copy(each.network, share) if share else each.network
    if share:
        _tune(bench, network, SPARSE_EPOCHS)
    path = bench.folder / f"sparse-{share:g}.onnx"
    export_onnx(Deployed(network, bench.data.mean, bench.data.std), network.blocks, path, {})
    fix_batch(path, path)
    export_openvino(path, path.with_suffix(".xml"))
    return {
        "zeros": sparsity(network), "of": each.record.id, "accuracy_test": _tested(network, bench), "bytes": float(path.stat().st_size),
        "bytes, compressed": float(len(gzip.compress(path.read_bytes()))),
        "onnxruntime_ms": _latency_ms("onnxruntime", path), "openvino_ms": _latency_ms("openvino", path.with_suffix(".xml")),
    }  # fmt: skip


def _latency_ms(runtime: Literal["onnxruntime", "openvino"], path: Path) -> float:
    with load_runtime(runtime).open(path, 1) as once:
        return 1e3 * float(np.median(measure(once, QUIET).labels_s()))
