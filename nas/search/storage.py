"""The study's storage, the truth of a search: what was asked, and what was told."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from nas.architecture import Architecture
from nas.errors import StoppedError, StudyError
from nas.metrics import Candidate, Metric, Objective
from nas.search.bulk import uncollected
from nas.search.databases import Database, open_storage
from nas.search.front import CUT_OFF
from nas.search.leases import driving, is_own, lease
from nas.search.stored_rounds import CARRIED, drop_cut_off, latest_round, round_name
from nas.search.trial_rows import write_asked, write_trials
from nas.search.underway import ATTEMPTS
from nas.target import Target

__all__ = [
    "FAILED",
    "FINALIST",
    "INT8_DROPS",
    "LEASE",
    "PRUNED",
    "TOLD",
    "BaseSampler",
    "BaseStorage",
    "Evaluated",
    "Study",
    "Trial",
    "add",
    "ask",
    "candidates_of",
    "carry_over",
    "cost",
    "database_of",
    "driving",
    "drop_cut_off",
    "evaluated",
    "fail",
    "find_study",
    "has",
    "keep_lease",
    "keep_spent",
    "known",
    "latest_round",
    "new_study",
    "open_storage",
    "open_study",
    "queued",
    "reap",
    "record",
    "refuse_existing",
    "refuse_other",
    "round_name",
    "spent",
    "studies_of",
    "values_of",
]

_QUEUED = "fixed_params"
"""Of a trial's system attributes: what `Study.enqueue_trial` was given."""
FAILED, FINALIST, PRUNED = "failed:", "finalist:", "pruned:"
"""Attributes of a study begin so, which say what became of a candidate (`nas.search.kept`)."""
SCHEMA = 1
"""Of what a study holds: its attributes and those of its trials."""
TOLD = "told"
"""Attribute of a study: with how many candidates it began that were evaluated for another device."""
INT8_DROPS = "int8_drops"
"""Attribute of a study: accuracy that int8 costs, measured for its device or one before it, by arch_id."""
LEASE = "lease"
"""Attribute of a trial: to whom it is lent, until when, which attempt it is."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A candidate that was told to the study, and the seconds that its accuracy took."""

    candidate: Candidate
    seconds: float


def ask(study: Study, space: Mapping[str, BaseDistribution], lease_s: float) -> Trial:
    """As `study.ask`, but on a database all values of a trial are written at once instead of one commit for each gene.

    Only the one driver of a study may call it.

    Args:
        lease_s: seconds after which the evaluation is given up, for the trial's lease.
    """
    backend = database_of(study)
    study._thread_local.cached_all_trials = None  # as `study.ask` does: all who look at trials for this one share a read
    is_queued = any(trial.state == TrialState.WAITING for trial in study._get_trials(deepcopy=False, use_cache=True))
    if backend is None or is_queued or not space:
        trial = study.ask(dict(space))
        keep_lease(study, trial, 1, lease_s)
        return trial
    number = study._storage.create_new_trial(study._study_id)
    begun = Trial(study, number)
    relative, frozen = begun.relative_params, study._storage.get_trial(number)
    values = {
        name: relative[name] if name in relative else study.sampler.sample_independent(study, frozen, name, each)
        for name, each in space.items()
    }
    lent = {LEASE: lease(1, lease_s)}
    backend.patiently(lambda: write_asked(backend.engine, number, values, space, lent))
    return Trial(study, number)


def database_of(study: Study) -> Database | None:
    """The database that a study is in; None for a journal or memory."""
    backend = getattr(study._storage, "_backend", study._storage)
    return backend if isinstance(backend, Database) else None


def keep_lease(study: Study, trial: Trial, attempt: int, seconds: float) -> None:
    """Lends a trial to a worker, for the first time or anew."""
    with _still_ours(study):
        study._storage.set_trial_user_attr(trial._trial_id, LEASE, lease(attempt, seconds))


def new_study(directions: Sequence[Literal["minimize", "maximize"]], sampler: BaseSampler) -> Study:
    """A study that lives in memory."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(directions=list(directions), sampler=sampler)


def refuse_existing(storage: BaseStorage, names: Collection[str]) -> None:
    """For a new search in a storage that others use too.

    Raises:
        StudyError: it has a study of one of these names already.
    """
    for found in optuna.get_all_study_names(storage):
        if found in names:
            raise StudyError(f"the storage has a study {found} already: choose another --study")


def has(storage: BaseStorage, name: str) -> bool:
    """Whether a storage has an Optuna study of that name."""
    return name in optuna.get_all_study_names(storage)


def spent(study: Study) -> float:
    """Seconds that runs of this study took, as far as they were kept."""
    return float(study.user_attrs.get("seconds", 0.0))


def cost(study: Study) -> dict[str, float | str]:
    """What runs of this study cost, as its record says it (`nas.report.footprint`); empty where nobody counted."""
    found: dict[str, float | str] = study.user_attrs.get("cost", {})
    return dict(found)


def keep_spent(study: Study, seconds: float, record: Mapping[str, float | str]) -> None:
    """Replaces `spent` and `cost`."""
    study.set_user_attr("seconds", seconds)
    study.set_user_attr("cost", dict(record))


def open_study(storage: BaseStorage, name: str, objectives: Sequence[Objective], sampler: BaseSampler, facts: Mapping[str, Any]) -> Study:
    """Opens or creates the study of one device. `facts` are kept with it; an existing study must have the same ones.

    Raises:
        StudyError: as `refuse_other`.
    """
    study = optuna.create_study(
        storage=storage, study_name=name, directions=[objective.direction for objective in objectives], sampler=sampler, load_if_exists=True
    )
    for key, value in refuse_other(study, objectives, facts).items():
        study.set_user_attr(key, value)
    return study


def refuse_other(study: Study, objectives: Sequence[Objective], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Of what a study must be, returns what it does not tell yet.

    Raises:
        StudyError: it is of another space, data, target or objectives, or of a newer version.
    """
    name, found = study.study_name, study.user_attrs
    lacking: dict[str, Any] = {}
    if int(found.get("schema", SCHEMA)) > SCHEMA:
        raise StudyError(f"study {name} was written by a newer version of nas (schema {found['schema']}, this one reads {SCHEMA}): upgrade")
    for key, value in {"schema": SCHEMA, **facts, "objectives": [objective.metric for objective in objectives]}.items():
        plain = json.loads(json.dumps(value))
        if key not in found:
            lacking[key] = plain
        elif found[key] != plain:
            raise StudyError(f"study {name} has {key} {found[key]!r}, not {plain!r}: choose another name for the new one")
    return lacking


def find_study(storage: BaseStorage, name: str) -> Study:
    """A study to look at.

    Raises:
        StudyError: the storage has none of that name.
    """
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError as exc:
        raise StudyError(f"the storage has no study {name}: put back the one that has") from exc


def carry_over(old: Study, new: Study, rescore: Callable[[Candidate], Candidate | None], objectives: Sequence[Objective]) -> None:
    """Copies what was told to `old` into the empty `new`, with other costs: values that were told cannot be changed.

    Accuracies, finalists, trial numbers and the samplers' own marks (generations) stay. A candidate that `rescore` has no place for is
    failed with the reason, so that it is not asked for again, and comes back when a later round has one.
    """
    trials = old.get_trials(deepcopy=False)
    carried = []
    for trial in trials:
        attrs, values = dict(trial.user_attrs), None
        state = TrialState.WAITING if trial.state == TrialState.WAITING else TrialState.FAIL
        if "candidate" not in attrs and trial.state == TrialState.RUNNING:
            attrs[CUT_OFF] = True
        if "candidate" in attrs and CUT_OFF not in attrs:
            attrs.pop("reason", None)
            before = _read(trial)
            candidate = rescore(before.candidate)
            if candidate is None:
                attrs["reason"] = "does not meet the constraints by the refitted predictor"
            else:
                attrs["candidate"] = known(candidate, before.seconds)
                values, state = [candidate.metrics[objective.metric].value for objective in objectives], TrialState.COMPLETE
        carried.append(create_trial(
            state=state, values=values, params=trial.params, distributions=trial.distributions, user_attrs=attrs,
            system_attrs=trial.system_attrs,
        ))  # fmt: skip
    _put(new, carried)
    for key, value in old.user_attrs.items():
        if key.startswith((FAILED, FINALIST, PRUNED)):
            new.set_user_attr(key, value)
    new.set_user_attr(CARRIED, len(trials))


def studies_of(storage: BaseStorage, name: str, devices: Collection[str] | None = None) -> list[Study]:
    """The Optuna studies of a search, one for each device and round.

    Args:
        devices: of the search: those of others are another search's of that name. None for all.
    """
    names = sorted(each for each in optuna.get_all_study_names(storage) if each.startswith(f"{name}/"))
    names = [each for each in names if devices is None or each.removeprefix(f"{name}/").split("/")[0] in devices]
    return [optuna.load_study(study_name=each, storage=storage) for each in names]


def candidates_of(study: Study, facts: Mapping[str, str]) -> list[Candidate]:
    """What a study was told.

    Raises:
        StudyError: it was made for something else than `facts` say. What it does not tell, because it is older, is not held against it.
    """
    for key, value in facts.items():
        found = study.user_attrs.get(key, value)
        if found != value:
            raise StudyError(f"study {study.study_name} has {key} {found!r}, not {value!r}: its accuracies are of no use here")
    return [one.candidate for one in evaluated(study)]


def record(study: Study, trial: Trial, candidate: Candidate, objectives: Sequence[Objective], seconds: float) -> None:
    """Tells a finished evaluation: everything that is known of the candidate in one attribute, then the objectives.

    Raises:
        StoppedError: another driver has taken the study over and ended the trial.
    """
    with _still_ours(study):
        trial.set_user_attr("candidate", known(candidate, seconds))
        study.tell(trial, [candidate.metrics[objective.metric].value for objective in objectives])


@contextmanager
def _still_ours(study: Study) -> Iterator[None]:
    """For what is written of a trial that runs: a driver that was away for longer than its lease finds it ended by the next one."""
    try:
        yield
    except UpdateFinishedTrialError as exc:
        raise StoppedError(f"another process has taken over study {study.study_name}: this one ends, what it told is kept") from exc


def known(candidate: Candidate, seconds: float) -> dict[str, Any]:
    """The attribute "candidate" of its trial."""
    metrics = {name: metric.to_dict() for name, metric in candidate.metrics.items()}
    return {"architecture": candidate.arch.to_dict(), "target": candidate.target.to_dict(), "metrics": metrics, "seconds": seconds}


def add(study: Study, space: Mapping[str, BaseDistribution], told: Sequence[Evaluated], objectives: Sequence[Objective]) -> None:
    """Adds candidates that were evaluated elsewhere, as told."""
    _put(study, [
        create_trial(
            params=values_of(each.candidate.arch, space), distributions=dict(space),
            user_attrs={"candidate": known(each.candidate, each.seconds)},
            values=[each.candidate.metrics[objective.metric].value for objective in objectives],
        )
        for each in told
    ])  # fmt: skip


def _put(study: Study, trials: Sequence[FrozenTrial]) -> None:
    backend = database_of(study)
    if backend is None:
        study.add_trials(trials)
    else:
        first = len(study.get_trials(deepcopy=False))
        backend.patiently(lambda: write_trials(backend.engine, study._study_id, trials, first))


def values_of(arch: Architecture, space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """A value for every gene: those that do not exist take their first choice."""
    active = dict(arch.genes)
    return {name: active.get(name, each.choices[0]) for name, each in space.items() if isinstance(each, CategoricalDistribution)}


def fail(study: Study, trial: Trial, reason: str) -> None:
    """Tells that an architecture cannot be evaluated, and why. It is not asked for again."""
    with _still_ours(study):
        trial.set_user_attr("reason", reason)
        study.tell(trial, state=TrialState.FAIL)


def reap(study: Study, keep: Collection[int] = (), *, only_own: bool = False) -> int:
    """Ends trials that are running but not in `keep` (numbers); returns how many were lost.

    What was evaluated is told as it was found. All else fails and may be asked for again; what somebody had queued is queued again. But
    what was cut off three times may be what ends the process.

    Only the one driver of a study may call it.

    Args:
        only_own: leave those alone that another process has lent: it has taken the study over.
    """
    trials = study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.FAIL))
    cut_off = [trial.params for trial in trials if trial.state == TrialState.FAIL and CUT_OFF in trial.user_attrs]
    orphans = [trial for trial in trials if trial.state == TrialState.RUNNING and trial.number not in keep]
    if only_own:
        orphans = [trial for trial in orphans if is_own(trial.user_attrs.get(LEASE, {}))]
    lost = [orphan for orphan in orphans if "candidate" not in orphan.user_attrs]
    for orphan in orphans:
        if "candidate" in orphan.user_attrs:
            metrics = _read(orphan).candidate.metrics
            study.tell(orphan.number, [metrics[name].value for name in study.user_attrs["objectives"]])
            continue
        before = cut_off.count(orphan.params) if orphan.params else 0
        if before + 1 >= ATTEMPTS:
            reason = f"cut off {before + 1} times: the search ended while it was evaluated"
            study._storage.set_trial_user_attr(orphan._trial_id, "reason", reason)
        else:
            study._storage.set_trial_user_attr(orphan._trial_id, CUT_OFF, True)
            again = orphan.system_attrs.get(_QUEUED)
            if again and again not in queued(study):  # which it is where this was cut off before it was told
                study.enqueue_trial(again)
        study.tell(orphan.number, state=TrialState.FAIL)
    return len(lost)


def queued(study: Study) -> list[dict[str, Any]]:
    """Values of the trials that were queued and nobody has asked for yet."""
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    return [each.system_attrs[_QUEUED] for each in waiting if _QUEUED in each.system_attrs]


def evaluated(study: Study) -> list[Evaluated]:
    """All candidates that were told, in order of their trials."""
    with uncollected():
        return [_read(trial) for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]


def _read(trial: FrozenTrial) -> Evaluated:
    known = trial.user_attrs["candidate"]
    metrics = {name: Metric.from_dict(metric) for name, metric in known["metrics"].items()}
    arch, target = Architecture.from_dict(known["architecture"]), Target(**known["target"])
    return Evaluated(Candidate(arch, target, metrics, trial.number), float(known["seconds"]))
