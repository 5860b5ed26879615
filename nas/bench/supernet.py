"""Training of the supernet and what it is good for: `nas bench supernet`.

Steps: `mobilenet_cifar`, the sandwich step against the same passes written plainly (`nas.bench.steps`).
The long training: `mobilenet_cifar` on the CIFAR-10 zip for 60 minutes, by the code of `nas train-supernet`; it is kept in runs/.cache (or
that of NAS_RUNS), goes on where it was stopped, and is not trained again. Its accuracies are on search-validation, with exact batch-norm
statistics. Digits: whole searches with `mobilenet_tiny`, a fresh folder for each seed; the best finalist is the one with the highest search
accuracy: its test accuracy is looked at once, and nothing is selected by it.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.bench.outcome import Mark, Outcome
from nas.bench.pieces import Row, runs_folder
from nas.bench.steps import OURS, PLAIN, PLAIN_CHANNELS_LAST, compare
from nas.config import SearchConfig, TrainRecipe, default_recipe
from nas.events import Event
from nas.pipeline import run as search
from nas.search.evaluators import EvaluatorContext, open_evaluator
from nas.space import load_space
from nas.training.data import load_data
from nas.training.reuse import EPOCHS, SupernetFile, SupernetJob

__all__ = ["long_training", "run", "say"]

SPACE, ZIP = "mobilenet_cifar", "cifar10-jpeg.zip"
BUDGET_S, MOST_EPOCHS = 3600.0, 60
"""Of the long training; the time ends it, not the epochs."""
EVALUATIONS = 12
SEEDS = 3
TRIALS, FINALISTS = 60, 3
TARGETS = (0.70, 0.75, 0.80, 0.85)
"""Accuracies of the largest network whose time is told."""
SLOW = "the machine is slower than two cores of a server of 2024, or busy"


def run(data: Path, smoke: bool) -> Outcome:
    """Marks step-nchw, step-cl, feed, largest, smallest, evaluate, digits, digits-accuracy, reuse.

    Args:
        data: folder of the CIFAR-10 zip.
        smoke: digits only, an epoch, few steps, one search that reuses the supernet: that it runs, not how good it is.
    """
    rows: list[Row] = []
    marks = _step_marks(rows, smoke)
    with tempfile.TemporaryDirectory(prefix="nas-bench-") as folder:
        runs = Path(folder) if smoke else runs_folder()
        marks += _long_marks(rows, data, runs, smoke)
        marks += _digits_marks(rows, runs if smoke else None)
    return Outcome(rows, marks)


def _step_marks(rows: list[Row], smoke: bool) -> list[Mark]:
    space, batch_size, seconds, rounds = ("mobilenet_tiny", 16, 0.05, 1) if smoke else (SPACE, 128, 4.0, 3)
    speeds = {speed.way: speed for speed in compare(space, batch_size, seconds, rounds)}
    rows += [
        {"step": each.way, "images_per_s": each.images_per_s, "peak_memory_mib": each.peak_memory_bytes / 2**20,
         "share_of_matmul_peak": each.share_of_peak}
        for each in speeds.values()
    ]  # fmt: skip
    ours = speeds[OURS].images_per_s
    return [
        Mark("step-nchw", "sandwich step, throughput over the plain loop in NCHW", ours / speeds[PLAIN].images_per_s, 2.2, "higher", SLOW),
        Mark(
            "step-cl", "sandwich step, throughput over the plain loop in channels-last", ours / speeds[PLAIN_CHANNELS_LAST].images_per_s,
            0.97, "higher", SLOW,
        ),
    ]  # fmt: skip


def _long_marks(rows: list[Row], data: Path, runs: Path, smoke: bool) -> list[Mark]:
    """The long training, then the cost of an evaluation with its weights."""
    job, name = long_training(data, runs, smoke)
    made = job.run(say, lambda: False)
    epochs = [json.loads(line) for line in (made.path.parent / EPOCHS).read_text(encoding="utf-8").splitlines()]
    rows += [_epoch_row(epoch) for epoch in epochs]
    for target in TARGETS:
        reached = next((epoch["seconds"] / 60 for epoch in epochs if epoch["largest"] >= target), None)
        rows.append({"largest network reaches": f"{target:.0%}", "minutes": "not reached" if reached is None else reached})
    context = EvaluatorContext(job.space, name, 0, runs / ".cache", made.path)
    return [*_training_marks(made, epochs), _evaluate_mark(rows, context)]


def long_training(data: Path, runs: Path, smoke: bool) -> tuple[SupernetJob, str]:
    """The supernet that benchmarks share, kept in the cache of `runs`, and the name of its images."""
    space, name = (load_space("mobilenet_tiny"), "digits") if smoke else (load_space(SPACE), str(data / ZIP))
    recipe = default_recipe("digits").model_copy(update={"epochs": 1}) if smoke else TrainRecipe(epochs=MOST_EPOCHS)
    images = load_data(name, space.resolutions[-1], 0, runs / ".cache")
    return SupernetJob(space.with_data(images.in_chs, images.num_classes), images, recipe, 0, runs / ".cache", BUDGET_S), name


def _epoch_row(epoch: Mapping[str, Any]) -> Row:
    return {
        "epoch": epoch["epoch"], "minutes": epoch["seconds"] / 60, "images_per_s": epoch["images_per_s"], "loss": epoch["loss"],
        "largest": epoch["largest"], "smallest": epoch["smallest"], "of images": epoch["images"], "waiting": epoch["waiting"],
    }  # fmt: skip


def _training_marks(made: SupernetFile, epochs: list[Mapping[str, Any]]) -> list[Mark]:
    rate = epochs[-1]["images_per_s"]
    short = f"{made.epochs} epochs in {made.seconds / 60:.0f} minutes, {rate:.0f} images/s"
    return [
        Mark("feed", "share of a training step spent waiting for data", epochs[-1]["waiting"], 0.03, "lower", SLOW),
        Mark("largest", f"search-validation accuracy of the largest network, {short}", made.largest, 0.86, "higher", SLOW),
        Mark("smallest", "search-validation accuracy of the smallest network", made.smallest, 0.75, "higher", SLOW),
    ]


def _evaluate_mark(rows: list[Row], context: EvaluatorContext) -> Mark:
    evaluator = open_evaluator("supernet", context)
    archs = [context.space.sample(seed) for seed in range(EVALUATIONS)]
    evaluator.evaluate([context.space.smallest])
    times = []
    for arch in archs:
        started = time.perf_counter()
        evaluator.evaluate([arch])
        times.append(time.perf_counter() - started)
    median = statistics.median(times)
    rows.append({"evaluations": len(times), "median_s": median, "slowest_s": max(times)})
    return Mark("evaluate", "seconds an evaluation, batch-norm recalibration included, median", median, 1.5, "lower", SLOW)


class _Listener:
    """Tells how long the supernet was trained in a search."""

    def __init__(self) -> None:
        self.trained_s = 0.0
        self._began: float | None = None

    def __call__(self, event: Event) -> None:
        now = time.perf_counter()
        if event.kind == "phase" and event.fields.get("phase") == "supernet":
            self._began = now
        elif self._began is not None and event.kind in ("phase", "info"):
            self.trained_s += now - self._began
            self._began = None
        say(event)


def _digits_marks(rows: list[Row], runs: Path | None) -> list[Mark]:
    """Whole searches.

    Args:
        runs: for the smoke form: one search that finds its supernet there; None for a fresh folder and two searches a seed.
    """
    trained, accuracies, again = [], [], 0.0
    for seed in range(SEEDS if runs is None else 1):
        with tempfile.TemporaryDirectory(prefix="nas-bench-") as folder:
            first, second = _Listener(), _Listener()
            place = runs or Path(folder)
            result = search(_digits(f"seed-{seed}", seed, smoke=runs is not None), place, first, lambda: False)
            best = max(result.fronts[0].finalists, key=lambda each: each.candidate.metrics["accuracy_search"].value)
            trained.append(first.trained_s)
            accuracies.append(best.candidate.metrics["accuracy_test"].value)
            rows.append({
                "digits, seed": seed, "supernet_s": first.trained_s, "search_s": result.seconds,
                "accuracy_search": best.candidate.metrics["accuracy_search"].value, "accuracy_test": accuracies[-1],
            })  # fmt: skip
            if runs is not None:
                again = first.trained_s
            elif seed == 0:
                search(_digits("again", seed, smoke=False), place, second, lambda: False)
                again = second.trained_s
    missed = "too few networks and epochs for the accuracy, or the machine is busy"
    return [
        Mark("digits", "mobilenet_tiny supernet trained, seconds, median of the seeds", statistics.median(trained), 90.0, "lower", SLOW),
        Mark(
            "digits-accuracy", "test accuracy of the best finalist by search accuracy, median of the seeds", statistics.median(accuracies),
            0.97, "higher", missed,
        ),
        Mark("reuse", "second search on the same space and data, seconds spent training the supernet", again, 0.0, "lower", "a bug"),
    ]  # fmt: skip


def _digits(study: str, seed: int, *, smoke: bool) -> SearchConfig:
    recipe = default_recipe("digits")
    if smoke:
        recipe = recipe.model_copy(update={"epochs": 1, "finetune_epochs": 0})
    return SearchConfig(
        study=study, devices=("raspberrypi4",), space="mobilenet_tiny", data="digits", seed=seed, recipe=recipe,
        trials=3 if smoke else TRIALS, finalists=1 if smoke else FINALISTS,
    )  # fmt: skip


def say(event: Event) -> None:
    """What happens, for whoever waits for an hour."""
    if event.kind in ("phase", "info", "warning", "epoch"):
        sys.stderr.write(f"{event.text}\n")
