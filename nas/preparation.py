"""Before anything is trained: what the configuration means, and whether it can be met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from nas.architecture import Architecture
from nas.config import SearchConfig
from nas.errors import InputError, StoppedError, StudyError, TargetError, UnknownNameError
from nas.events import Event, Listener
from nas.files import try_folder
from nas.hardware.calibrate import MIN_NETWORKS
from nas.hardware.newcomer import own_profile
from nas.hardware.predictor import LatencyPredictor
from nas.hardware.profile import DeviceProfile, load_profile
from nas.matching import find
from nas.measuring import HOST, choose_networks, measure_networks, measuring_s, quality_text, reach
from nas.metrics import OBJECTIVES, Objective
from nas.prediction import read_architecture
from nas.report.units import seconds_text
from nas.search.energy_axis import energy_axis, verdict
from nas.search.evaluators import EvaluatorContext, accuracy_evaluator, open_evaluator
from nas.search.fleet import FleetScorer
from nas.search.scoring import BaseScorer, Feasible
from nas.space import SearchSpace, load_reference, load_space, reference_names
from nas.target import Target
from nas.targets import alike_words, fp32_targets, scorer_of, unmeasured_words, with_faster_int8
from nas.training.data import ImageData, load_data
from nas.training.teacher import open_teacher

__all__ = ["Device", "Prepared", "prepare", "scored", "start_of"]

HOST_NETWORKS = 20
"""Networks that the first search on this machine measures."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device that is searched for, with what a pool of architectures told about it.

    Attributes:
        profile: what the scorer's predictor is from; None where several devices are one.
        scorer: of the target that the sampler looks at, with those of the device's other targets.
        reference: of the hypervolume, in the units of the objectives: chance for accuracy, the largest value scored for costs.
        front_reference: the same for the objectives of the front.
    """

    profile: DeviceProfile | None
    scorer: BaseScorer
    feasible: Feasible
    reference: tuple[float, ...]
    front_reference: tuple[float, ...]

    @property
    def target(self) -> Target:
        return self.scorer.target


@dataclass(frozen=True)
class Prepared:
    """A configuration with everything that it names, found and checked.

    Attributes:
        objectives: of the search.
        front_objectives: of the front: with energy where it ranks the targets of a device otherwise than latency does.
        starts: architectures that are evaluated first.
        words: what was found out on the way, to be told when the search begins.
    """

    config: SearchConfig
    space: SearchSpace
    data: ImageData
    objectives: tuple[Objective, ...]
    front_objectives: tuple[Objective, ...]
    devices: tuple[Device, ...]
    cache: Path
    starts: tuple[Architecture, ...] = ()
    words: tuple[Event, ...] = ()


def prepare(
    config: SearchConfig, runs: Path, on_event: Listener, stop: Callable[[], bool], *, measure: bool = True
) -> Prepared:  # fmt: skip
    """Finds space, data, devices and predictors; measures this machine where it is a device and has not been measured.

    Args:
        measure: whether it may.

    Raises:
        StudyError: it may not, and has to.
        InputError: a name, file or number that cannot be used.
        InfeasibleError: nothing meets the constraints.
    """
    space = load_space(config.space)
    cache = (runs / ".cache").resolve()  # workers elsewhere have another folder to begin with
    profiles = [load_profile(name) for name in config.devices]
    for number, profile in enumerate(profiles):
        for other, before in zip(config.devices, profiles[:number], strict=False):
            if profile.name == before.name:
                raise InputError(f"{other} and {config.devices[number]} are one device, {profile.name}: name it once")
    if config.precision == "int8":
        raise InputError("a search compares int8 with fp32: --precision fp32 --precision int8, got int8 alone")
    if config.precision == "both" and "supernet" not in accuracy_evaluator(config.evaluator).needs:
        raise InputError(f"int8 is learnt from networks of a supernet, which --evaluator {config.evaluator} does not have: fp32 alone")
    targets = [fp32_targets(profile, config) for profile in profiles]
    away = [profile.name for profile in profiles if profile.name != HOST]
    if config.verify and away and config.via is None:
        raise InputError(f"--verify measures during the search: how is {away[0]} reached? --via ssh://user@host")
    if config.verify and measure:
        for name in config.devices:  # an address that is none, or not this device's, is refused now: nothing is connected
            reach(name, config.via, lambda _: None)
    _check_evaluator(config)
    _check_writable(cache, runs)
    _check_going_on(stop)
    data = _images(config, space.resolutions[-1], cache, on_event)
    space = space.with_data(data.in_chs, data.num_classes)
    starts = tuple(start_of(name, space, data) for name in config.start_from)
    _check_files(config, space, data, cache, on_event)
    _check_going_on(stop)
    devices: list[Device] = []
    words: list[Event] = []
    for profile, several in zip(profiles, targets, strict=True):
        predictors = {}
        for target in several:
            predictors[target] = profile.predictor(target)
            if target.device == HOST and not _knows(predictors[target], space, HOST_NETWORKS if measure else MIN_NETWORKS):
                if not measure:
                    raise StudyError(
                        f"latency on {target.key} is not known with what is installed now: nas search --resume {config.study} measures it"
                    )
                predictors[target] = _measure_host(target, space, config, on_event, stop)
        words += (*alike_words(profile, predictors), *unmeasured_words(profile, predictors))
        if config.precision == "both":
            known = partial(_known_int8, profile, space, config, on_event, stop, measure)
            predictors, told = with_faster_int8(space, predictors, known, config.seed)
            words += told
        devices.append(scored(profile, scorer_of(space, profile, predictors), config, data.num_classes))
    config, told = _with_axis(config, devices)
    words += told
    objectives, front_objectives = objectives_of(config)
    devices = [scored_again(device, config, data.num_classes) for device in devices]
    if config.joint is not None:
        devices.append(scored(None, FleetScorer([device.scorer for device in devices], config.joint), config, data.num_classes))
    return Prepared(config, space, data, objectives, front_objectives, tuple(devices), cache, starts, tuple(words))


def _with_axis(config: SearchConfig, devices: Sequence[Device]) -> tuple[SearchConfig, tuple[Event, ...]]:
    """What energy is, found out once: a study that goes on keeps to it. And the words for it."""
    if "energy" in config.objectives or config.energy_axis != "auto":
        return config, ()
    axes = [energy_axis(device.scorer, device.feasible.rows) for device in devices]
    found = verdict(axes)
    words = []
    for device, axis in zip(devices, axes, strict=True):
        if axis is None:
            words.append(Event("info", f"energy on {device.target.device} is not known: its profile has no power data"))
        else:
            fields = {"rho": axis.across, "rho_within": axis.within, "energy_axis": found}
            words.append(Event("info", axis.words(device.target.device, found), fields=fields))
    return config.model_copy(update={"energy_axis": found}), tuple(words)


def objectives_of(config: SearchConfig) -> tuple[tuple[Objective, ...], tuple[Objective, ...]]:
    """Of the search, and of its front."""
    names = config.objectives
    if config.energy_axis == "searched" and "energy" not in names:
        names = (*names, "energy")
    front = names if config.energy_axis != "targets" or "energy" in names else (*names, "energy")
    return tuple(OBJECTIVES[name] for name in names), tuple(OBJECTIVES[name] for name in front)


def start_of(name: str, space: SearchSpace, data: ImageData) -> Architecture:
    """A network to start from, as an architecture of the space.

    Args:
        name: of a reference, or path of an architecture's .json file.

    Raises:
        UnknownNameError: neither.
        InputError: the network was pruned, or is not of the space.
    """
    if name in reference_names():
        reference = load_reference(name).with_data(data.in_chs, data.num_classes)
        blocks = reference.decode(reference.smallest)
    elif name.endswith(".json"):
        file = read_architecture(Path(name))
        if file.architecture is not None and file.architecture.widths:
            whole = file.architecture.unpruned.arch_id
            raise InputError(f"--start-from {name}: it was pruned, and a search starts from whole networks: name that of {whole}")
        blocks = file.blocks
    else:
        raise UnknownNameError("network", name, reference_names(), hint="(a path to an architecture's .json file works too)")
    arch = find(space, blocks)
    if arch is None:
        raise InputError(f"--start-from {name}: that is no network of space {space.name} for {data.num_classes} classes")
    return arch


def scored(profile: DeviceProfile | None, scorer: BaseScorer, config: SearchConfig, num_classes: int) -> Device:
    """A device by its scorer: what a pool of architectures tells.

    Raises:
        InfeasibleError: nothing meets the constraints.
        InputError: an objective that is not known of the device.
    """
    if any(each.metric == "energy_j" for each in config.constraints) and not all(each.knows_energy for each in scorer.all):
        raise InputError(f"a bound of energy cannot be kept: the profile of {scorer.target.device} has no power data")
    feasible = scorer.explore(config.constraints, config.seed)
    return scored_again(Device(profile, scorer, feasible, (), ()), config, num_classes)


def scored_again(device: Device, config: SearchConfig, num_classes: int) -> Device:
    """With the reference points of a configuration's objectives."""
    ranges = device.feasible.ranges

    def worst(objectives: Sequence[Objective]) -> tuple[float, ...]:
        for objective in objectives:
            if objective.metric not in ranges and objective.metric != "accuracy_search":
                raise InputError(f"{objective.metric} of {device.target.device} is not known: its profile has no power data")
        return tuple(1 / num_classes if each.metric == "accuracy_search" else ranges[each.metric][1] for each in objectives)

    search, front = objectives_of(config)
    return replace(device, reference=worst(search), front_reference=worst(front))


def _check_evaluator(config: SearchConfig) -> None:
    """Before anything is trained: it gives accuracy, and has what it needs and nothing else."""
    needs = accuracy_evaluator(config.evaluator).needs
    if "table" in needs and config.table is None:
        raise InputError(f"--evaluator {config.evaluator} needs a file of known results: --table FILE")
    if "table" not in needs and config.table is not None:
        raise InputError(f"--table goes with an evaluator that looks results up, not with {config.evaluator}: leave it out")
    if "supernet" not in needs and config.weights is not None:
        raise InputError(f"--weights are those of a supernet, which --evaluator {config.evaluator} does not need: leave it out")


def _images(config: SearchConfig, size: int, cache: Path, on_event: Listener) -> ImageData:
    """The images, with what is to be known of them told."""

    def decoding(done: int, total: int) -> None:
        on_event(Event("progress", f"reading {total} images", share=done / max(1, total)))

    data = load_data(config.data, size, config.seed, cache, decoding)
    needs = accuracy_evaluator(config.evaluator).needs
    epochs = config.halving.epochs if config.evaluator == "train" else config.recipe.epochs if "supernet" in needs else 0
    few = "" if config.weights else data.few_steps(epochs, config.recipe.batch_size)  # given weights are not at chance
    for warning in filter(None, (*data.warnings(), few)):
        on_event(Event("warning", warning))
    return data


def _check_files(config: SearchConfig, space: SearchSpace, data: ImageData, cache: Path, on_event: Listener) -> None:
    """Opens the files that are needed later only, so that a bad one is refused now."""
    if config.table is not None:
        open_evaluator(config.evaluator, EvaluatorContext(space, config.data, config.seed, cache, None, table=Path(config.table)))
    if config.teacher is not None:
        teacher = open_teacher(Path(config.teacher), data, threads=1)
        text = f"teacher {teacher.path.name}: {teacher.accuracy:.1%} of {teacher.tried_on} training images right ({teacher.scaling})"
        on_event(Event("info", text))


def _check_writable(cache: Path, runs: Path) -> None:
    """Before anything is read or measured."""
    try:
        try_folder(cache)
    except OSError as exc:
        raise InputError(f"{runs} cannot be written to ({exc.strerror or exc}): choose another folder with --runs") from exc


def _check_going_on(stop: Callable[[], bool]) -> None:
    if stop():
        raise StoppedError("stopped before anything was trained")


def _knows(predictor: LatencyPredictor, space: SearchSpace, fewest: int) -> bool:
    """Whether so many networks were measured, and the extremes of the space are like them."""
    ends = (space.decode(space.smallest), space.decode(space.largest))
    return predictor.measurements >= fewest and all(predictor.in_range(blocks) for blocks in ends)


def _known_int8(
    profile: DeviceProfile, space: SearchSpace, config: SearchConfig, on_event: Listener, stop: Callable[[], bool], measure: bool,
    target: Target,
) -> LatencyPredictor:  # fmt: skip
    """Of a target in int8: this machine is measured where it was not, and may be.

    Raises:
        InputError: nothing is known of it, or it is not to be had: a runtime may lack int8, or make something else of it.
    """
    if target.device != HOST:
        return profile.predictor(target)
    own = own_profile(profile)
    known = own.predictor(target) if own.predictor_path(target).is_file() else None
    if known is not None and (_knows(known, space, HOST_NETWORKS) or not measure):
        return known
    if not measure:
        options = f"--runtime {target.runtime} --precision int8 --threads {target.threads}"
        raise InputError(f"nothing was measured in it: nas measure --device {HOST} {options}")
    try:
        return _measure_host(target, space, config, on_event, stop)
    except TargetError as exc:
        raise InputError(str(exc)) from exc


def _measure_host(
    target: Target, space: SearchSpace, config: SearchConfig, on_event: Listener, stop: Callable[[], bool]
) -> LatencyPredictor:
    """Measures networks of the space on this machine and fits: the smallest, the largest and those that tell most."""
    profile, address = reach(HOST, None, lambda text: on_event(Event("info", text)))
    networks = choose_networks(space, profile, HOST_NETWORKS, config.seed)
    about = seconds_text(measuring_s(config.measure, len(networks)))
    text = f"Measuring {len(networks)} networks on this machine, {target.key}: about {about}"
    on_event(Event("phase", f"{text}; what all else takes is told after that", fields={"phase": "measure"}))
    fitted, _ = measure_networks(profile, address, target, networks, config.measure, on_event, stop)
    on_event(Event("info", f"latency model of this machine: {fitted.measurements} networks measured, {quality_text(fitted)}"))
    return fitted
