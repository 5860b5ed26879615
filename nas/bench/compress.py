"""What compression costs and saves: `nas bench compress`.

A search with `mobilenet_cifar` on the CIFAR-10 zip for a Raspberry Pi 4 starts from a supernet of 30 minutes, which is what
`nas search --time-budget 1h` trains (runs/.cache, or that of NAS_RUNS), networks of 5 M multiply-adds at most. Its finalists,
fine-tuned as a search does it, are what is compressed: quantised after training and with rounding, pruned, made sparse, and fine-tuned
again with a teacher. Accuracies of the marks are on the 10,000 test images; nothing is selected by them. `agree` and `card` look at the
files themselves.

The search and what each network gave are kept in runs/.cache/bench-compress: an interrupted run goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from nas.architecture import BlockSpec
from nas.bench.compress_files import agree, card, export, int8, size
from nas.bench.compress_networks import SETTINGS, distil, prune, sparse
from nas.bench.outcome import Mark, Outcome
from nas.bench.pieces import Pieces, Row, runs_folder
from nas.bench.supernet import long_training, say
from nas.bench.workbench import Compressed, Workbench
from nas.config import SearchConfig, TrainRecipe, default_recipe
from nas.hardware.profile import load_profile
from nas.metrics import Constraint
from nas.models.network import Network
from nas.models.weights import load_weights
from nas.pipeline import Result
from nas.pipeline import run as search
from nas.search.artifacts import FILES
from nas.search.evaluators import EvaluatorContext
from nas.training.data import load_data
from nas.training.reuse import SupernetJob

__all__ = ["run"]

DEVICE, STUDY = "raspberrypi4", "compress"
TRIALS, FINALISTS, MOST_MACS = 12, 3, 5_000_000
SEED, SUPERNET_S = 1, 1800.0
"""Those of the supernet in the second search of `nas bench cifar10`: where both are made, it may be taken from there."""


def run(data: Path, smoke: bool) -> Outcome:
    """Marks ptq-drop, qat-drop, int8-size, agree, prune, distil, card, export-s, and what sparse weights give.

    Args:
        data: folder of the CIFAR-10 zip.
        smoke: digits, one finalist, hardly any training: that it runs, not how good it is.
    """
    with tempfile.TemporaryDirectory(prefix="nas-bench-") as folder:
        shared = Path(folder) / "runs" if smoke else runs_folder()
        job, name = _supernet(data, shared, smoke)
        weights = job.run(say, lambda: False).path
        recipe = (default_recipe("digits") if smoke else TrainRecipe()).model_copy(update={"epochs": 0})
        if smoke:
            recipe = recipe.model_copy(update={"finetune_epochs": 1})
        config = SearchConfig(
            study=STUDY, devices=(DEVICE,), space=job.space.name, data=name, seed=job.seed, recipe=recipe, weights=str(weights),
            trials=3 if smoke else TRIALS, finalists=1 if smoke else FINALISTS,
            constraints=() if smoke else (Constraint("macs", MOST_MACS),),
        )  # fmt: skip
        pieces = Pieces.of(shared / ".cache" / "bench-compress", _inputs(config, weights, job.data.fingerprint))
        runs = pieces.folder / "runs"
        result = search(config, runs, say, lambda: False, resume=(runs / STUDY / "config.json").is_file())
        context = EvaluatorContext(job.space, name, job.seed, runs / ".cache", weights, recipe=recipe)
        profile = load_profile(DEVICE)
        bench = Workbench(
            Path(folder), runs, pieces, context, context.images(job.space.resolutions[-1]), recipe, _finalists(result),
            profile.predictor(profile.target()), smoke,
        )  # fmt: skip
        rows: list[Row] = []
        parts: tuple[Callable[[Workbench, list[Row]], list[Mark]], ...] = (int8, size, agree, prune, distil, card, export, sparse)
        marks = [mark for part in parts for mark in part(bench, rows)]
    return Outcome(rows, marks)


def _supernet(data: Path, runs: Path, smoke: bool) -> tuple[SupernetJob, str]:
    """As a search of an hour trains it, and the name of its images."""
    job, name = long_training(data, runs, smoke)
    if smoke:
        return job, name
    images = load_data(name, job.space.resolutions[-1], SEED, runs / ".cache")
    return replace(job, data=images, recipe=TrainRecipe(), seed=SEED, budget_s=SUPERNET_S), name


def _inputs(config: SearchConfig, weights: Path, fingerprint: str) -> dict[str, object]:
    """All that decides what is found."""
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return {"config": config.model_dump_json(), "weights": digest, "data": fingerprint, "version": version("hwnas"), **SETTINGS}


def _finalists(result: Result) -> tuple[Compressed, ...]:
    found = []
    for record in result.fronts[0].finalists:
        home = (result.folder / record.artifacts["onnx"]).parent
        told = json.loads((home / FILES["architecture"]).read_text(encoding="utf-8"))
        network = Network([BlockSpec.from_dict(block) for block in told["blocks"]])
        network.load_state_dict(load_weights(home / FILES["weights"])[0])
        found.append(Compressed(record, network.eval(), home))
    return tuple(found)
