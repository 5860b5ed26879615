"""What a search will take on this machine, and how a time budget is shared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.architecture import Architecture
from nas.cost import count
from nas.events import Event
from nas.measuring import measuring_s
from nas.models.supernet import Supernet
from nas.preparation import Prepared
from nas.remaining import Left
from nas.schedule import EXPORT_S, NETWORKS, TRAIN_SHARE, ends_s, record_s
from nas.search.evaluators.from_scratch import fresh_network
from nas.training.finetune import time_network
from nas.training.oneshot import time_step
from nas.training.parallel import alone_here

__all__ = ["Estimate", "estimate"]

EXPORT_RUNS = 6
"""Of a finalist's files, over as many images as there are test images."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a search will take on this machine.

    Attributes:
        seconds: of each part at most, where nothing disturbs it: supernet, search, measuring (of `--verify`), finalists, record.
        disk_bytes: of the study's folder and of decoded images, at most.
        shared_s: of the finalists, as far as a finalist of one device is one of the others too: it is trained once.
    """

    seconds: dict[str, float]
    disk_bytes: int
    shared_s: float = 0.0

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())

    def event(self) -> Event:
        """In words."""
        told = {name: s for name, s in self.seconds.items() if s or name != "measuring"}
        parts = ", ".join(f"{name} {_minutes(s, self.shared_s if name == 'finalists' else 0.0)}" for name, s in told.items())
        total = _minutes(max(self.total_s, 6), self.shared_s)
        text = f"about {total} minutes ({parts}) and {self.disk_bytes / 2**20:.0f} MiB of disk"
        if self.shared_s:
            text += "; devices share finalists where one serves both"
        return Event("info", f"This will take {text}", fields={"estimate_s": self.total_s, "disk_bytes": self.disk_bytes})


def _minutes(most_s: float, shared_s: float) -> str:
    least, most = (f"{seconds / 60:.1f}" for seconds in (most_s - shared_s, most_s))
    return most if least == most else f"{least} to {most}"


def estimate(prepared: Prepared, supernet: Supernet | None, trained: bool, left: Left) -> Estimate:
    """Times a step and an evaluation of one network, and a step of the supernet where one is to be trained, on copies; and multiplies.

    Args:
        supernet: None where the evaluator needs none.
        trained: whether the supernet is.
        left: to do, besides.
    """
    config, space, data, recipe = prepared.config, prepared.space, prepared.data, prepared.config.recipe
    steps = -(-len(data.train) // recipe.batch_size)
    network = space.decode(_allowed(prepared))
    one = time_network(fresh_network(network, config.seed) if supernet is None else supernet.extract(network), data, recipe)
    supernet_s = 0.0
    if supernet is not None and not trained:
        supernet_s = recipe.epochs * steps * time_step(supernet, space, data, recipe, config.seed, alone_here().device)
    evaluations = {"supernet": one.evaluation_s, "train": config.halving.mean_epochs * (steps * one.step_s + one.evaluation_s)}
    epochs = recipe.epochs if supernet is None else recipe.finetune_epochs
    # Its files are run on the test images in torch and two runtimes, and on search-validation for int8.
    export_s = EXPORT_S + EXPORT_RUNS * one.evaluation_s * len(data.test) / len(data.search_validation)
    seconds = {
        "supernet": supernet_s,
        "search": left.evaluations * evaluations.get(config.evaluator, 0.0) / config.workers,
        "measuring": left.measurings * measuring_s(config.measure, NETWORKS),
        "finalists": left.finalists * (epochs * (steps * one.step_s + one.evaluation_s) + export_s),
        "record": record_s(len(prepared.devices)),
    }
    if supernet is not None and left.finalists and epochs and recipe.finetune_distill_weight:
        # The largest network is asked about every training image once, and about its mirror image.
        larger = count(space.decode(space.largest)).macs / count(network).macs
        seconds["finalists"] += larger * one.evaluation_s * 2 * len(data.train) / len(data.search_validation)
    alone_s = seconds["finalists"] / len(prepared.devices)
    if config.time_budget_s is not None:
        searched_s, made_s = ends_s(config.time_budget_s, len(prepared.devices), left.finalists)
        seconds["supernet"] = min(seconds["supernet"], TRAIN_SHARE * config.time_budget_s)
        past_s = left.spent_s
        for part, end_s in (("supernet", made_s), ("search", searched_s), ("measuring", searched_s), ("finalists", made_s)):
            seconds[part] = max(0.0, min(seconds[part], end_s - past_s))
            past_s += seconds[part]
    weights = count(space.decode(space.largest)).weight_bytes
    images_bytes = 0 if data.name == "digits" else sum(s.images.nbytes for s in (data.train, data.search_validation, data.test))
    kept = 0 if supernet is None else 3 * 4 * sum(p.numel() for p in supernet.parameters())  # weights, their average and momentum
    # Each model twice as ONNX, in int8, for OpenVINO and as safetensors, and its ONNX files again in MLflow; plots and the tracking store.
    disk_bytes = kept + left.finalists * 7 * weights + images_bytes + 16 * 2**20
    return Estimate(seconds, disk_bytes, shared_s=max(0.0, seconds["finalists"] - alone_s))


def _allowed(prepared: Prepared) -> Architecture:
    """Some architecture that meets the constraints: those that do not, which may be much larger, will not be evaluated."""
    rows = prepared.devices[0].feasible.rows
    row = np.random.default_rng(prepared.config.seed).integers(len(rows))
    return prepared.space.decode_rows(rows[row : row + 1])[0]
