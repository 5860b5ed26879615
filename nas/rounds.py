"""The search of one device, in rounds. Each round scores with one predictor; between two of them networks near the front are measured.

Values that were told to an Optuna study cannot be changed. So when measuring gives a better predictor, a new study begins: all that was
told is carried over with its accuracy and new costs, and the search goes on in it. No accuracy is found twice, and no front mixes two
predictors. The last study is the truth; those before it stay in the storage as the record.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from nas.architecture import Architecture
from nas.errors import InputError, TargetError
from nas.events import Event, Listener
from nas.measuring import LOCAL, measure_networks, quality_text
from nas.metrics import Candidate
from nas.opening import open_round, study_name, tell_known
from nas.preparation import Device, Prepared, scored
from nas.schedule import FURTHER, LEAST_NETWORKS, MEASURINGS, NETWORKS, fewest_trials, pause_at
from nas.search import engine, pareto, storage
from nas.search.executors import Evaluation, Executor
from nas.search.scoring import Scorer

__all__ = ["Searched", "scored_anew", "search_device"]


@dataclass(frozen=True)
class Searched:
    """What the search of a device ended with: the device as it is known now, and its last study with all that it holds."""

    device: Device
    study: storage.Study
    done: list[storage.Evaluated]


def search_device(
    prepared: Prepared, device: Device, study: storage.Study, store: storage.BaseStorage, executor: Executor,
    accuracies: dict[Architecture, Evaluation], on_event: Listener, stop: Callable[[], bool], deadline_s: float | None,
) -> Searched:  # fmt: skip
    """Searches for one device; with `verify`, measures members of the front on the way and goes on with the better predictor.

    A device after the first is told what was found for those before it, and adds evaluations near its own front.

    Args:
        study: of the device's last round.
        store: that the study is in.
        accuracies: what is known already, of any device; new ones are added.
        deadline_s: on the clock of `time.monotonic`; after it nothing is measured.
    """
    config = prepared.config
    digest = device.scorer.digest
    if "predictor" not in study.user_attrs:
        study.set_user_attr("predictor", digest)
    if study.user_attrs["predictor"] != digest:  # measured, then cut off; or measured elsewhere since
        on_event(Event("info", f"the predictor of {device.target.key} is another than before: what was found is scored anew"))
        study = _next_round(prepared, device, store, study)
    trials = config.trials
    if device.target != prepared.devices[0].target:
        trials = tell_known(prepared, device, study, accuracies) + math.ceil(FURTHER * config.trials)
    verify = config.verify and device.profile is not None
    has_measured = "verified" in study.user_attrs
    if verify and not has_measured:
        share = 1.0 if device.target == prepared.devices[0].target else FURTHER
        _warn_of_few(len(storage.evaluated(study)), trials, config.trials, share, device, on_event)
    while True:
        before = len(storage.evaluated(study))
        may_measure = verify and storage.latest_round(store, study_name(prepared, device))[0] <= MEASURINGS
        pause = pause_at(before, trials, has_measured) if may_measure else None
        problem = engine.Problem(
            device.scorer, prepared.objectives, config.constraints, device.reference, trials, config.target_regret,
            config.evaluation_timeout_s,
        )  # fmt: skip
        done = engine.run(problem, study, executor, accuracies, on_event, stop, deadline_s, pause)
        if pause is None or not pause <= len(done) < trials:
            return Searched(device, study, _of_today(device, done))
        is_late = deadline_s is not None and time.monotonic() > deadline_s
        refitted = None if is_late else _measured(prepared, device, study, done, on_event, stop)
        has_measured = True  # or has tried to: what failed is not tried again at once
        if refitted is not None:
            device = refitted
            study = _next_round(prepared, device, store, study)


def _warn_of_few(before: int, trials: int, asked: int, share: float, device: Device, on_event: Listener) -> None:
    """Where a search has something left to do, but no pause in it.

    Args:
        before: candidates that are known, of `trials`.
        asked: by --trials.
        share: of one more of --trials that this device gets.
    """
    lacking = fewest_trials(before) - trials
    if before < trials and lacking > 0:
        text = f"--verify measures nothing on {device.target.key}: {trials - before} of {trials} candidates are left to be evaluated"
        on_event(Event("warning", f"{text}, too few to pause among them; --trials {asked + math.ceil(lacking / share)} does"))


def _next_round(prepared: Prepared, device: Device, store: storage.BaseStorage, old: storage.Study) -> storage.Study:
    name = study_name(prepared, device)
    number, _ = storage.latest_round(store, name)
    storage.drop_cut_off(store, name)
    new = open_round(prepared, device, store, number + 1)
    new.set_user_attr("predictor", device.scorer.digest)
    for key in ("verified", storage.TOLD, storage.INT8_DROPS):
        if key in old.user_attrs:
            new.set_user_attr(key, old.user_attrs[key])
    storage.carry_over(old, new, partial(_rescored, prepared, device), prepared.objectives)
    return new


def scored_anew(
    prepared: Prepared, device: Device, study: storage.Study, done: list[storage.Evaluated]
) -> list[storage.Evaluated]:  # fmt: skip
    """What a study was told, with the costs that the next round would give it where the predictor is another one by now."""
    if study.user_attrs.get("predictor", device.scorer.digest) == device.scorer.digest:
        return _of_today(device, done)
    pairs = [(each, _rescored(prepared, device, each.candidate)) for each in done]
    return [replace(each, candidate=candidate) for each, candidate in pairs if candidate is not None]


def _of_today(device: Device, done: list[storage.Evaluated]) -> list[storage.Evaluated]:
    """On the device's target as it is: the version of its runtime may have been told since."""
    return [replace(each, candidate=replace(each.candidate, target=device.target)) for each in done]


def _rescored(prepared: Prepared, device: Device, candidate: Candidate) -> Candidate | None:
    """With costs by the device's predictor, and its target's version of the runtime; None where they break a constraint."""
    if not device.scorer.meets(prepared.space.encode([candidate.arch]), prepared.config.constraints)[0]:
        return None
    return replace(candidate, target=device.target, metrics={**candidate.metrics, **device.scorer.metrics(candidate.arch)})


def _measured(
    prepared: Prepared, device: Device, study: storage.Study, done: list[storage.Evaluated], on_event: Listener, stop: Callable[[], bool]
) -> Device | None:
    """The device with the predictor that measuring networks near the front gave; None where too few are left to measure."""
    known = set(study.user_attrs.get("verified", []))
    picks = _near_front(prepared, [each.candidate for each in done if each.candidate.arch.arch_id not in known])
    if len(picks) < LEAST_NETWORKS:
        on_event(Event("info", f"only {len(picks)} networks near the front are not measured yet: the predictor stays"))
        return None
    config, scorer, target = prepared.config, device.scorer, device.target
    if device.profile is None or not isinstance(scorer, Scorer):
        raise InputError(f"{target.device} stands for several devices: what is measured is one of them")
    on_event(Event("phase", f"Measuring {len(picks)} networks near the front on {target.key}", fields={"phase": "verify"}))
    networks = [prepared.space.decode(candidate.arch) for candidate in picks]
    try:
        predictor, _ = measure_networks(device.profile, config.via or LOCAL, target, networks, config.measure, on_event, stop)
    except (TargetError, InputError) as exc:
        on_event(Event("warning", f"not measured, the search goes on with the predictor it has: {exc}"))
        return None
    study.set_user_attr("verified", sorted(known | {candidate.arch.arch_id for candidate in picks}))
    before, after = quality_text(scorer.predictor), quality_text(predictor)
    text = f"predictor refitted: {predictor.measurements} networks measured; before {before}, now {after}"
    on_event(Event("info", text, fields={"measurements": predictor.measurements, "before": before, "after": after}))
    return scored(
        device.profile, Scorer(prepared.space, target, predictor, scorer.energy, scorer.others), config, prepared.data.num_classes
    )


def _near_front(prepared: Prepared, candidates: list[Candidate]) -> list[Candidate]:
    """Spread over the front; then over the front of the others, until there are enough."""
    chosen: list[Candidate] = []
    while candidates and len(chosen) < NETWORKS:
        points = engine.losses(candidates, prepared.objectives)
        is_front = pareto.front(points)
        front = [candidate for candidate, on_it in zip(candidates, is_front, strict=True) if on_it]
        chosen += [front[row] for row in pareto.select(points[is_front], NETWORKS - len(chosen))]
        candidates = [candidate for candidate, on_it in zip(candidates, is_front, strict=True) if not on_it]
    return chosen
