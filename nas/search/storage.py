"""The study's storage, the truth of a search: what was asked, what was told, what finalists became."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from nas.architecture import Architecture
from nas.errors import StudyError
from nas.metrics import Candidate, Metric, Objective
from nas.search.finalists import Finalist
from nas.target import Target

__all__ = [
    "BaseStorage",
    "Evaluated",
    "Study",
    "evaluated",
    "fail",
    "finalist",
    "keep_finalist",
    "open_storage",
    "open_study",
    "reap",
    "record",
    "refuse_existing",
    "spend",
    "spent",
]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A candidate that was told to the study, and the seconds that its accuracy took."""

    candidate: Candidate
    seconds: float


def open_storage(url: str) -> BaseStorage:
    """A storage by URL, e.g. "sqlite:////path/study.db".

    Raises:
        StudyError: it cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    options: dict[str, Any] = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    try:
        return RDBStorage(url, engine_kwargs=options)
    except Exception as exc:  # SQLAlchemy's and every driver's own errors
        raise StudyError(f"storage {url.split('@')[-1]} cannot be opened: {str(exc).splitlines()[0]}") from exc


def refuse_existing(storage: BaseStorage, names: Collection[str]) -> None:
    """For a new search in a storage that others use too.

    Raises:
        StudyError: it has a study of one of these names already.
    """
    for found in optuna.get_all_study_names(storage):
        if found in names:
            raise StudyError(f"the storage has a study {found} already: choose another --study")


def spent(study: Study) -> float:
    """Seconds that runs of this study took, as far as they came to an end."""
    return float(study.user_attrs.get("seconds", 0.0))


def spend(study: Study, seconds: float) -> float:
    """Adds to `spent`; returns all of it."""
    total = spent(study) + seconds
    study.set_user_attr("seconds", total)
    return total


def finalist(study: Study, candidate: Candidate) -> Finalist | None:
    """What an earlier run made of a candidate; None where it has not."""
    known = study.user_attrs.get(f"finalist:{candidate.id}")
    if known is None:
        return None
    metrics = {name: Metric.from_dict(metric) for name, metric in known["metrics"].items()}
    return Finalist(replace(candidate, metrics=metrics), known["artifacts"], known["note"])


def keep_finalist(study: Study, made: Finalist) -> None:
    """Keeps a finalist with the study."""
    study.set_user_attr(f"finalist:{made.candidate.id}", made.to_dict())


def open_study(storage: BaseStorage, name: str, objectives: Sequence[Objective], sampler: BaseSampler, facts: Mapping[str, Any]) -> Study:
    """Opens or creates the study of one device. `facts` are kept with it; an existing study must have the same ones.

    Raises:
        StudyError: the study that is there is of another space, data, target or objectives.
    """
    study = optuna.create_study(
        storage=storage, study_name=name, directions=[objective.direction for objective in objectives], sampler=sampler, load_if_exists=True
    )
    found = study.user_attrs
    for key, value in {**facts, "objectives": [objective.metric for objective in objectives]}.items():
        plain = json.loads(json.dumps(value))
        if key not in found:
            study.set_user_attr(key, plain)
        elif found[key] != plain:
            raise StudyError(f"study {name} has {key} {found[key]!r}, not {plain!r}: choose another name for the new one")
    return study


def record(study: Study, trial: Trial, candidate: Candidate, objectives: Sequence[Objective], seconds: float) -> None:
    """Tells a finished evaluation: everything that is known of the candidate in one attribute, then the objectives."""
    known = {"metrics": {name: metric.to_dict() for name, metric in candidate.metrics.items()}, "seconds": seconds}
    trial.set_user_attr("candidate", {"architecture": candidate.arch.to_dict(), "target": candidate.target.to_dict(), **known})
    study.tell(trial, [candidate.metrics[objective.metric].value for objective in objectives])


def fail(study: Study, trial: Trial, reason: str) -> None:
    """Tells that an architecture cannot be evaluated, and why. It is not asked for again."""
    trial.set_user_attr("reason", reason)
    study.tell(trial, state=TrialState.FAIL)


def reap(study: Study, keep: Collection[int] = ()) -> int:
    """Fails trials that are running but not in `keep` (numbers); returns how many. They may be asked for again.

    Only the one driver of a study may call it.
    """
    orphans = [trial for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) if trial.number not in keep]
    for orphan in orphans:
        study.tell(orphan.number, state=TrialState.FAIL)
    return len(orphans)


def evaluated(study: Study) -> list[Evaluated]:
    """All candidates that were told, in order of their trials."""
    return [_read(trial) for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]


def _read(trial: FrozenTrial) -> Evaluated:
    known = trial.user_attrs["candidate"]
    metrics = {name: Metric.from_dict(metric) for name, metric in known["metrics"].items()}
    arch, target = Architecture.from_dict(known["architecture"]), Target(**known["target"])
    return Evaluated(Candidate(arch, target, metrics, trial.number), float(known["seconds"]))
