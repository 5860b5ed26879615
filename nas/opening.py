"""Opens the studies of a search in their storage, one a device, each with its sampler."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nas.architecture import Architecture
from nas.errors import StudyError
from nas.events import Event
from nas.metrics import Candidate, Metric
from nas.passwords import shown_uri
from nas.preparation import Device, Prepared
from nas.report.record import EventLog
from nas.report.tracking import LOG
from nas.search import storage
from nas.search.evaluators import Evaluation
from nas.search.sampler import SamplerContext, UniqueSampler, distributions, sampler
from nas.search.scored_domain import ScoredDomain

__all__ = [
    "STORAGE",
    "advice_where_none",
    "begin_studies",
    "clock",
    "facts_of",
    "find_studies",
    "open_round",
    "own_storage",
    "refuse_lost",
    "reused_words",
    "shared_storage",
    "study_name",
    "tell_known",
]

STORAGE = "study.db"
"""File of a study's folder, unless the configuration names a storage."""
LOST = "put the storage back, or start a new study"
FALLBACK = 1000
"""Feasible architectures that the sampler may fall back on."""


def own_storage(folder: Path) -> storage.BaseStorage:
    """The storage in a study's folder."""
    return storage.open_storage(f"sqlite:///{(folder / STORAGE).resolve()}")


def shared_storage(prepared: Prepared, *, resume: bool) -> storage.BaseStorage | None:
    """The storage that the configuration names, where it names one.

    Raises:
        StudyError: it cannot be opened, or has a study of that name already though it is no resume.
    """
    if prepared.config.storage is None:
        return None
    found = storage.open_storage(prepared.config.storage)
    if not resume:
        storage.refuse_existing(found, {study_name(prepared, device) for device in prepared.devices})
    return found


def refuse_lost(prepared: Prepared, store: storage.BaseStorage, folder: Path) -> None:
    """For a search that goes on.

    Raises:
        StudyError: candidates were told, but the storage does not know the study: it would begin anew, and its files be written over.
    """
    name = study_name(prepared, prepared.devices[0])
    # One without a trial is of no more use: all that was told is lost.
    is_there = storage.has(store, name) and bool(storage.find_study(store, name).get_trials(deepcopy=False))
    if is_there or not _told_candidates(folder):
        return
    where = folder / STORAGE if prepared.config.storage is None else shown_uri(prepared.config.storage)
    raise StudyError(f"{where} has no study {name}, whose log has candidates: {LOST}")


def advice_where_none(folder: Path, name: str) -> str:
    """What to do where the storage has no candidate of a study: it is lost, or nothing was evaluated yet."""
    return f"its log has some: {LOST}" if _told_candidates(folder) else f"go on with nas search --resume {name}"


def _told_candidates(folder: Path) -> bool:
    return any(event["kind"] == "trial" for event in EventLog(folder / LOG).read())


def find_studies(prepared: Prepared, store: storage.BaseStorage) -> dict[str, storage.Study]:
    """The study of each device that the search came to, by the device's name: the last one where measuring has made more (`nas.rounds`).

    Raises:
        StudyError: one is of another space, data or target.
    """
    found = {}
    for device in prepared.devices:
        _, name = storage.latest_round(store, study_name(prepared, device))
        if storage.has(store, name):
            found[device.target.device] = _found(prepared, device, store, name)
    return found


def begin_studies(prepared: Prepared, store: storage.BaseStorage, known: Mapping[Architecture, Metric]) -> list[storage.Study]:
    """Opens the study of each device, the last one where there are more. A new one begins with what earlier studies know, that of the first
    device also with the networks that the configuration names and with the ends of the front, most likely: the largest and the smallest
    network.

    Only the one driver of the search may call it.

    Args:
        known: accuracies of earlier studies.

    Raises:
        StudyError: one that is there is of another space, data or target.
    """
    studies = []
    first = dict.fromkeys((*prepared.starts, prepared.space.largest, prepared.space.smallest))
    for device in prepared.devices:
        study, unique = _open(prepared, device, store, storage.latest_round(store, study_name(prepared, device))[0])
        trials = study.get_trials(deepcopy=False)
        if not trials:
            _add(prepared, device, study, {arch: Evaluation({"accuracy_search": accuracy}, 0.0) for arch, accuracy in known.items()})
        if device is prepared.devices[0] and not any(storage.LEASE in each.user_attrs for each in trials):
            # Nothing was asked for yet, though a run that was cut off here may have queued some of them.
            there = {each.candidate.arch for each in storage.evaluated(study)}
            there |= {prepared.space.canonical(values) for values in storage.queued(study)}
            for arch in first:
                if arch not in there and _accepts(prepared, device, arch):
                    study.enqueue_trial(unique.filled(arch))
        studies.append(study)
    return studies


def tell_known(prepared: Prepared, device: Device, study: storage.Study, known: Mapping[Architecture, Evaluation]) -> int:
    """Tells a device's study what was evaluated for others and is new to it; returns how many candidates it has been told."""
    there = {each.candidate.arch for each in storage.evaluated(study)}
    own = len(there) - int(study.user_attrs[storage.TOLD]) if storage.TOLD in study.user_attrs else 0
    _add(prepared, device, study, {arch: evaluation for arch, evaluation in known.items() if arch not in there})
    told = len(storage.evaluated(study)) - own
    if told != study.user_attrs.get(storage.TOLD):
        study.set_user_attr(storage.TOLD, told)
    return told


def _add(prepared: Prepared, device: Device, study: storage.Study, known: Mapping[Architecture, Evaluation]) -> None:
    """Adds architectures that the device may have with what their evaluation gave."""
    told = [
        storage.Evaluated(Candidate(arch, device.target, {**found.metrics, **device.scorer.metrics(arch)}), found.seconds)
        for arch, found in known.items() if _accepts(prepared, device, arch)
    ]  # fmt: skip
    storage.add(study, distributions(prepared.space), told, prepared.objectives)


def reused_words(prepared: Prepared, study: storage.Study) -> tuple[Event, ...]:
    """What a new study begins with that names earlier ones, and whether that leaves nothing to evaluate.

    Args:
        study: of the first device, as `begin_studies` left it.
    """
    config = prepared.config
    if not config.warm_start:
        return ()
    count = len(storage.evaluated(study))
    told = f"{count} accuracies are reused from {' and '.join(config.warm_start)}"
    if count < config.trials:
        return (Event("info", told),)
    return (
        Event(
            "warning", f"{told}; they count as trials, so that --trials {config.trials} evaluates nothing new: ask for more than {count}"
        ),
    )


def facts_of(prepared: Prepared) -> dict[str, str]:
    """What accuracies are of, on whatever target: studies that agree in it mean the same networks and images."""
    space = prepared.space
    return {"space": space.name, "data": prepared.data.fingerprint, "space_size": str(space.size), "space_fingerprint": space.fingerprint}


def clock(prepared: Prepared, store: storage.BaseStorage) -> storage.Study:
    """The study that keeps how long the search took: the first device's first.

    Raises:
        StudyError: the storage has none, or it is of another space, data or target.
    """
    first = prepared.devices[0]
    return _found(prepared, first, store, study_name(prepared, first))


def study_name(prepared: Prepared, device: Device) -> str:
    """Of a device's first study; later ones add the number of their round."""
    return f"{prepared.config.study}/{device.target.device}"


def open_round(prepared: Prepared, device: Device, store: storage.BaseStorage, number: int) -> storage.Study:
    """A device's study of that round, a new one where there is none: for who searches, not for who looks."""
    return _open(prepared, device, store, number)[0]


def _accepts(prepared: Prepared, device: Device, arch: Architecture) -> bool:
    return bool(device.scorer.meets(prepared.space.encode([arch]), prepared.config.constraints)[0])


def _facts(prepared: Prepared, device: Device) -> dict[str, str]:
    """What the device's studies are of."""
    return {**facts_of(prepared), "target": device.target.key}


def _found(prepared: Prepared, device: Device, store: storage.BaseStorage, name: str) -> storage.Study:
    """A study of the device to look at."""
    study = storage.find_study(store, name)
    storage.refuse_other(study, prepared.objectives, _facts(prepared, device))
    return study


def _open(prepared: Prepared, device: Device, store: storage.BaseStorage, number: int) -> tuple[storage.Study, UniqueSampler]:
    config, space = prepared.config, prepared.space
    rows = device.feasible.rows
    fallback = space.decode_rows(rows[:: max(1, len(rows) // FALLBACK)])
    domain = ScoredDomain(device.scorer, prepared.objectives, config.constraints)
    floor = max((each.bound for each in config.constraints if each.kind == "min" and each.metric == "accuracy_search"), default=None)
    base = sampler(config.sampler, SamplerContext(space, domain, config.trials, config.seed, floor))
    unique = UniqueSampler(base, space, lambda arch: _accepts(prepared, device, arch), fallback, config.seed)
    name = storage.round_name(study_name(prepared, device), number)
    return storage.open_study(store, name, prepared.objectives, unique, _facts(prepared, device)), unique
