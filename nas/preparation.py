"""Before anything is trained: what the configuration means, whether it can be met, and what it will take."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nas.config import SearchConfig
from nas.cost import count
from nas.errors import InputError, StoppedError
from nas.events import Event, Listener
from nas.hardware.predictor import LatencyPredictor
from nas.hardware.profile import DeviceProfile, load_profile
from nas.measuring import HOST, choose_networks, measure_networks, quality_text, reach
from nas.metrics import OBJECTIVES, Objective
from nas.models.supernet import Supernet
from nas.search.scoring import Feasible, Scorer
from nas.space import SearchSpace, load_space
from nas.target import Target
from nas.training.data import ImageData, load_data
from nas.training.oneshot import time_step

__all__ = ["Device", "Estimate", "Prepared", "estimate", "prepare", "scored"]

HOST_NETWORKS = 20
"""Networks that the first search on this machine measures."""
TRAIN_SHARE, SEARCH_SHARE = 0.5, 0.2
"""Of a time budget: supernet, search; the rest is for the finalists."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device that is searched for, with what a pool of architectures told about it.

    Attributes:
        profile: what the scorer's predictor is from.
        reference: of the hypervolume, in the units of the objectives: chance for accuracy, the largest value scored for costs.
    """

    profile: DeviceProfile
    scorer: Scorer
    feasible: Feasible
    reference: tuple[float, ...]

    @property
    def target(self) -> Target:
        return self.scorer.target


@dataclass(frozen=True)
class Prepared:
    """A configuration with everything that it names, found and checked."""

    config: SearchConfig
    space: SearchSpace
    data: ImageData
    objectives: tuple[Objective, ...]
    devices: tuple[Device, ...]
    cache: Path


def prepare(config: SearchConfig, runs: Path, on_event: Listener, stop: Callable[[], bool]) -> Prepared:
    """Finds space, data, devices and predictors; measures this machine where it is a device and has not been measured.

    Raises:
        InputError: a name, file or number that cannot be used.
        InfeasibleError: nothing meets the constraints.
    """
    space = load_space(config.space)
    cache = runs / ".cache"
    profiles = [load_profile(name) for name in config.devices]
    for number, profile in enumerate(profiles):
        for other, before in zip(config.devices, profiles[:number], strict=False):
            if profile.name == before.name:
                raise InputError(f"{other} and {config.devices[number]} are one device, {profile.name}: name it once")
    if config.precision != "fp32":
        raise InputError(
            f"a search trains and exports fp32 networks so far, got precision {config.precision}: "
            f"nas measure, predictor and predict know {config.precision} where it was measured"
        )
    targets = [profile.target(config.runtime, config.precision, config.threads) for profile in profiles]
    away = [target.device for target in targets if target.device != HOST]
    if config.verify and away and config.via is None:
        raise InputError(f"--verify measures during the search: how is {away[0]} reached? --via ssh://user@host")
    _check_writable(cache, runs)
    _check_going_on(stop)

    def decoding(done: int, total: int) -> None:
        on_event(Event("progress", f"reading {total} images", share=done / max(1, total)))

    data = load_data(config.data, space.resolutions[-1], config.seed, cache, decoding)
    for problem in data.skipped:
        on_event(Event("warning", f"image left out: {problem}"))
    if data.duplicates:
        on_event(Event("warning", f"{data.duplicates} test or validation images occur in the training set too: accuracies flatter"))
    space = space.with_data(data.in_chs, data.num_classes)
    objectives = tuple(OBJECTIVES[name] for name in config.objectives)
    _check_going_on(stop)
    devices = []
    for profile, target in zip(profiles, targets, strict=True):
        predictor = profile.predictor(target)
        if target.device == HOST and not _knows(predictor, space):
            predictor = _measure_host(target, space, config, on_event, stop)
        devices.append(scored(profile, Scorer(space, target, predictor, profile.power), config, data.num_classes))
    return Prepared(config, space, data, objectives, tuple(devices), cache)


def scored(profile: DeviceProfile, scorer: Scorer, config: SearchConfig, num_classes: int) -> Device:
    """A device by its scorer: what a pool of architectures tells.

    Raises:
        InfeasibleError: nothing meets the constraints.
    """
    feasible = scorer.explore(config.constraints, config.seed)
    metrics = [OBJECTIVES[name].metric for name in config.objectives]
    worst = tuple(1 / num_classes if metric == "accuracy_search" else feasible.ranges[metric][1] for metric in metrics)
    return Device(profile, scorer, feasible, worst)


def _check_writable(cache: Path, runs: Path) -> None:
    """Before anything is read or measured."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            pass
    except OSError as exc:
        raise InputError(f"{runs} cannot be written to ({exc.strerror or exc}): choose another folder with --runs") from exc


def _check_going_on(stop: Callable[[], bool]) -> None:
    if stop():
        raise StoppedError("stopped before anything was trained")


def _knows(predictor: LatencyPredictor, space: SearchSpace) -> bool:
    """Whether enough was measured, and the extremes of the space are like it."""
    ends = (space.decode(space.smallest), space.decode(space.largest))
    return predictor.measurements >= HOST_NETWORKS and all(predictor.in_range(blocks) for blocks in ends)


def _measure_host(
    target: Target, space: SearchSpace, config: SearchConfig, on_event: Listener, stop: Callable[[], bool]
) -> LatencyPredictor:
    """Measures networks of the space on this machine and fits: the smallest, the largest and those that tell most."""
    profile, address = reach(HOST, None, lambda text: on_event(Event("info", text)))
    networks = choose_networks(space, profile, HOST_NETWORKS, config.seed)
    on_event(Event("phase", f"Measuring {len(networks)} networks on this machine, {target.key}", fields={"phase": "measure"}))
    fitted = measure_networks(profile, address, target, networks, config.measure, on_event, stop)
    on_event(Event("info", f"latency model of this machine: {fitted.measurements} networks measured, {quality_text(fitted)}"))
    return fitted


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a search will take on this machine.

    Attributes:
        seconds: of each part: supernet, search, finalists.
        disk_bytes: of the study's folder and of decoded images.
    """

    seconds: dict[str, float]
    disk_bytes: int

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())


def estimate(prepared: Prepared, supernet: Supernet, trained: bool) -> Estimate:
    """Times one training step on a copy of the supernet and one forward pass, and multiplies."""
    config, space, data, recipe = prepared.config, prepared.space, prepared.data, prepared.config.recipe
    step_s, forward_s = time_step(supernet, space, data, recipe, config.seed)
    # Networks of a search are between smallest and largest: half the largest's work is a fair guess.
    evaluated = min(len(data.train), 2048) + len(data.search_validation)
    evaluation_s = 0.5 * forward_s * evaluated + 0.05
    finetune_s = recipe.finetune_epochs * len(data.train) * forward_s * (1 + 0.5 * 3)
    finalists = config.finalists * len(prepared.devices)
    seconds = {
        "supernet": 0.0 if trained else recipe.epochs * -(-len(data.train) // recipe.batch_size) * step_s,
        "search": config.trials * len(prepared.devices) * evaluation_s / config.workers,
        "finalists": finalists * (finetune_s + 2.0),
    }
    if config.time_budget_s is not None:
        seconds["supernet"] = min(seconds["supernet"], TRAIN_SHARE * config.time_budget_s)
        seconds["search"] = min(seconds["search"], SEARCH_SHARE * config.time_budget_s)
        rest = config.time_budget_s - seconds["supernet"] - seconds["search"]
        seconds["finalists"] = min(seconds["finalists"], rest)
    weights = count(space.decode(space.largest)).weight_bytes
    images_bytes = 0 if data.name == "digits" else sum(s.images.nbytes for s in (data.train, data.search_validation, data.test))
    # Supernet and its momentum; each model as ONNX and safetensors, and its ONNX again in MLflow; plots and the tracking store.
    disk = 2 * 4 * sum(p.numel() for p in supernet.parameters()) + finalists * 3 * weights + images_bytes + 16 * 2**20
    return Estimate(seconds, disk)
