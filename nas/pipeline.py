"""The whole path: prepared, trained, searched, selected, made, recorded. No logic of its own: each step is somebody's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from nas.architecture import Architecture
from nas.config import SearchConfig
from nas.errors import InfeasibleError, NasError, StoppedError, StudyError
from nas.events import Event, Listener
from nas.files import locked
from nas.finishing import make_finalists, maker_of, telling
from nas.ledger import Ledger
from nas.opening import (
    STORAGE,
    advice_where_none,
    begin_studies,
    clock,
    find_studies,
    open_round,
    own_storage,
    refuse_lost,
    reused_words,
    shared_storage,
)
from nas.precision import on_every_target, tell_foreign
from nas.preparation import Device, Prepared, prepare
from nas.provenance import Earlier, context_of, earlier, keep_supernet
from nas.pruning import Made, kept_pruned, prune_finalists
from nas.recording import Recorder, Selection, front_record, infeasible, refuse_other_images, save_config, select_all
from nas.remaining import Left
from nas.report.course import Status
from nas.report.footprint import Footprint, track
from nas.report.front import STOPPED, FrontRecord
from nas.report.study import LOCK, study_id
from nas.rounds import Searched, scored_anew, search_device
from nas.schedule import FURTHER, Pace, ends_s
from nas.search import storage
from nas.search.evaluators import EvaluatorContext
from nas.search.executors import Evaluation, open_executor
from nas.search.executors.cluster import knock
from nas.search.kept import read_failure, read_finalist
from nas.search.removal import claim

__all__ = ["Result", "rebuild", "run"]

ELSEWHERE = "journal:///PATH or postgresql://USER@HOST/DATABASE"


@dataclass(frozen=True, slots=True)
class Result:
    """What a search ended with.

    Attributes:
        folder: of the study.
        fronts: one a device.
        view: the Pareto view in MLflow: its address on a server, else its path behind the address of one; empty where MLflow failed.
        infeasible: why a device has no front though others do; None where all have one.
    """

    folder: Path
    fronts: tuple[FrontRecord, ...]
    seconds: float
    view: str
    infeasible: InfeasibleError | None = None


def run(config: SearchConfig, runs: Path, on_event: Listener, stop: Callable[[], bool], *, resume: bool = False) -> Result:
    """Searches, or goes on with a search. Everything that is done is saved as it is done.

    Args:
        runs: folder of all studies.
        stop: asked often; True ends the run at the next safe point.
        resume: the study exists already.

    Raises:
        InputError: before anything is trained.
        InfeasibleError: before that too; after the search where no candidate serves any device.
        StoppedError: `stop` said so; `resume` goes on.
    """
    with track(config.grid, on_event) as footprint:
        return _run(config, runs, footprint.hearing(on_event), stop, footprint, resume=resume)


def _run(config: SearchConfig, runs: Path, on_event: Listener, stop: Callable[[], bool], footprint: Footprint, *, resume: bool) -> Result:
    if config.ray is not None:
        knock(config.ray)
    folder = runs / config.study
    if not resume:
        _refuse_existing(folder)
    prepared = prepare(config, runs, on_event, stop)
    if resume:
        refuse_other_images(folder, prepared.data, prepared.cache)
    shared, known = shared_storage(prepared, resume=resume), None if resume else earlier(prepared, runs)
    taken = f"study {config.study} is being searched by another process: wait until it ends, or stop it"
    lockless = f"{runs} is on a file system without locks, where SQLite loses data: keep the study elsewhere with --storage {ELSEWHERE}"
    with locked(folder / LOCK, taken, lockless if shared is None else ""):
        if not resume:
            _refuse_existing(folder)  # a search of that name may have begun since
        save_config(folder, prepared.config, prepared)
        store = shared or own_storage(folder)
        if resume:
            refuse_lost(prepared, store, folder)
        first = open_round(prepared, prepared.devices[0], store, 1)  # the clock, and whose lease it is
        with storage.driving(first) as superseded:
            claim(first, study_id(folder))
            if known is None:  # what others knew was taken over when the search began, if it had come so far
                known = Earlier() if first.get_trials(deepcopy=False) else earlier(prepared, runs)
            if known.supernet is not None:
                keep_supernet(first, known.supernet)
            studies = begin_studies(prepared, store, known.accuracies)
            if not resume:
                prepared = replace(prepared, words=(*reused_words(prepared, studies[0]), *prepared.words))
            ledger = Ledger(first, footprint)
            recorder = Recorder(folder, prepared, ledger.hearing(on_event))
            recorder.start()
            status: Status = "FAILED"
            try:
                lacking = _searched(prepared, studies, store, recorder, folder, lambda: stop() or superseded.is_set(), ledger)
                status = "FINISHED"
            except (StoppedError, KeyboardInterrupt):
                status = "KILLED"
                raise
            finally:
                seconds, cost = ledger.so_far()
                with suppress(NasError):  # a storage that is away or full takes no ending with it
                    seconds, cost = ledger.keep()
                try:
                    fronts = recorder.close_costs(seconds, cost)
                finally:
                    recorder.finish(status, cost)
    in_all = f", {seconds:.0f} s with earlier runs" if resume else ""
    recorder.listen(Event("done", f"{config.study}: done in {seconds - ledger.before_s:.0f} s{in_all}", fields={"seconds": seconds}))
    return Result(folder, fronts, seconds, recorder.view, lacking)


def _refuse_existing(folder: Path) -> None:
    if folder.is_dir() and any(path.name != LOCK for path in folder.iterdir()):
        name = folder.name
        raise StudyError(f"study {name!r} exists already in {folder.parent}: go on with --resume {name}, or choose another --study")


def _searched(
    prepared: Prepared, studies: Sequence[storage.Study], store: storage.BaseStorage, recorder: Recorder, folder: Path,
    stop: Callable[[], bool], ledger: Ledger,
) -> InfeasibleError | None:  # fmt: skip
    """Trained, searched, selected, made, recorded; returns why a device is left out."""
    budget_s = prepared.config.time_budget_s
    for event in ledger.words(budget_s):
        recorder.listen(event)
    began = time.monotonic() - ledger.so_far()[0]  # as if the runs before had just ended: the budget is for all of them
    left = Left.of(prepared, studies, folder, ledger.before_s)
    context = context_of(prepared, ledger.study, recorder.listen, stop, left)
    deadline = until = None
    if budget_s is not None:
        deadline, until = (began + end_s for end_s in ends_s(budget_s, len(prepared.devices), left.finalists))
    for event in prepared.words:
        recorder.listen(event)
    tell_foreign(prepared, recorder.listen)
    searched = _search(prepared, context, studies, store, recorder.listen, stop, deadline)
    prepared = replace(prepared, devices=tuple(each.device for each in searched))
    studies = [each.study for each in searched]
    done = on_every_target(searched, context, recorder.listen, stop, deadline)
    prepared, studies, done, lacking = _served(prepared, studies, done, recorder.listen)
    selections = select_all(prepared, done)
    maker, pace = partial(maker_of, prepared, context, folder, recorder.listen), Pace(until)
    try:
        made = make_finalists(prepared, context, folder, studies, selections, recorder.listen, stop, pace)
        made = prune_finalists(prepared, context, folder, studies, made, maker, telling, recorder.listen, stop, pace)
    except StoppedError:  # all else is there to be looked at
        made = _kept(prepared, studies, selections, folder)
        seconds, cost = ledger.so_far()
        _record(prepared, recorder, done, selections, made, seconds, {**cost, STOPPED: "while finalists were made"})
        raise
    _record(prepared, recorder, done, selections, made, *ledger.so_far())
    return lacking


def _served(
    prepared: Prepared, studies: Sequence[storage.Study], done: Sequence[list[storage.Evaluated]], on_event: Listener
) -> tuple[Prepared, list[storage.Study], list[list[storage.Evaluated]], InfeasibleError | None]:  # fmt: skip
    """The devices that some candidate serves: what was found for one is not lost because another asks too much.

    Returns:
        what was given of those devices, and why the first of the others is none.

    Raises:
        InfeasibleError: no device is one.
    """
    errors = [infeasible(prepared, device, evaluated) for device, evaluated in zip(prepared.devices, done, strict=True)]
    first = next((error for error in errors if error is not None), None)
    if first is not None and None not in errors:
        raise first
    for error in errors:
        if error is not None:
            on_event(Event("warning", f"{error}: it has no front"))
    return *_only(prepared, studies, done, [error is None for error in errors]), first


def _only(
    prepared: Prepared, studies: Sequence[storage.Study], done: Sequence[list[storage.Evaluated]], kept: Sequence[bool]
) -> tuple[Prepared, list[storage.Study], list[list[storage.Evaluated]]]:  # fmt: skip
    """What was given, of some of the devices."""
    rows = [row for row, is_kept in enumerate(kept) if is_kept]
    served = replace(prepared, devices=tuple(prepared.devices[row] for row in rows))
    return served, [studies[row] for row in rows], [done[row] for row in rows]


def rebuild(config: SearchConfig, runs: Path, on_event: Listener) -> Result:
    """Derives files, pictures and MLflow runs of a study from its storage again; trains and evaluates nothing.

    Raises:
        StudyError: the storage has nothing of the study, or the images are others than those that it began with.
    """
    folder = runs / config.study
    empty = StudyError(f"the storage has no candidate of study {config.study}: {advice_where_none(folder, config.study)}")
    if config.storage is None and not (folder / STORAGE).is_file():
        raise empty
    with locked(folder / LOCK, f"study {config.study} is being searched: its files are derived when the search ends"):
        prepared = prepare(config, runs, on_event, lambda: False, measure=False)
        refuse_other_images(folder, prepared.data, prepared.cache)
        return _rebuilt(prepared, folder, empty, on_event)


def _rebuilt(prepared: Prepared, folder: Path, empty: StudyError, on_event: Listener) -> Result:
    """With the study's lock held; `empty` is raised where the storage has nothing of it."""
    store = shared_storage(prepared, resume=True) or own_storage(folder)
    found = find_studies(prepared, store)
    told = {name: storage.evaluated(study) for name, study in found.items()}
    if not any(told.values()):
        raise empty
    first = clock(prepared, store)  # of all devices, also where the first has no front
    names = [device.target.device for device in prepared.devices if told.get(device.target.device)]
    for device in prepared.devices:
        if device.target.device not in names:  # the search was stopped before it came to it
            on_event(Event("warning", f"nothing was evaluated for {device.target.device} yet: it has no front"))
    prepared = replace(prepared, devices=tuple(device for device in prepared.devices if device.target.device in names))
    studies, done = [found[name] for name in names], [told[name] for name in names]
    pairs = zip(prepared.devices, studies, done, strict=True)
    searched = [Searched(device, study, scored_anew(prepared, device, study, evaluated)) for device, study, evaluated in pairs]
    done = on_every_target(searched, None, on_event, lambda: False)
    seconds, cost = storage.spent(first), storage.cost(first)
    recorder = Recorder(folder, prepared, on_event)
    prepared, studies, done, lacking = _served(prepared, studies, done, on_event)
    selections = select_all(prepared, done)
    made = _kept(prepared, studies, selections, folder)
    status = recorder.status
    stopped: dict[str, float | str] = {} if status == "FINISHED" else {STOPPED: "before its end"}
    recorder.start(status)
    try:
        fronts = _record(prepared, recorder, done, selections, made, seconds, {**cost, **stopped})
    finally:
        recorder.finish(status, cost)
    return Result(folder, fronts, seconds, recorder.view, lacking)


def _kept(prepared: Prepared, studies: Sequence[storage.Study], selections: Sequence[Selection], folder: Path) -> list[Made]:
    """What runs until now made of each device's finalists, and why they failed at others: nothing is made."""
    made: list[Made] = []
    for device, study, selection in zip(prepared.devices, studies, selections, strict=True):
        found = {candidate.id: read_finalist(study, candidate) for candidate in selection.finalists}
        there = {name: each.present(folder) for name, each in found.items() if each is not None}
        failed = {candidate.id: read_failure(study, candidate) for candidate in selection.finalists if candidate.id not in there}
        notes = {name: reason for name, reason in failed.items() if reason}
        made.append((kept_pruned(prepared, device, study, there, folder), notes))
    return made


def _record(
    prepared: Prepared, recorder: Recorder, done: Sequence[Sequence[storage.Evaluated]], selections: Sequence[Selection],
    made: Sequence[Made], seconds: float, cost: Mapping[str, float | str],
) -> tuple[FrontRecord, ...]:  # fmt: skip
    fronts = []
    for device, evaluated, selection, (finalists, notes) in zip(prepared.devices, done, selections, made, strict=True):
        extras: dict[str, float | str] = {
            "trials": float(_evaluations(device, evaluated)),
            "seconds": seconds,
            "target": device.target.key,
            **cost,
        }
        fronts.append(front_record(prepared, device, evaluated, selection, finalists, notes, extras))
    recorder.listen(Event("phase", "Writing fronts, pictures and MLflow runs", fields={"phase": "record"}))
    recorder.record(prepared, fronts, done)
    return tuple(fronts)


def _evaluations(device: Device, done: Sequence[storage.Evaluated]) -> int:
    """On its other targets a candidate was not evaluated by itself."""
    return sum(each.candidate.target == device.target for each in done)


def _search(
    prepared: Prepared, context: EvaluatorContext, studies: Sequence[storage.Study], store: storage.BaseStorage, on_event: Listener,
    stop: Callable[[], bool], deadline_s: float | None,
) -> list[Searched]:  # fmt: skip
    """Searches device after device; accuracies are shared, so each further device evaluates only what is new."""
    config = prepared.config
    executor = open_executor(config.evaluator, context, config.workers, config.ray)
    accuracies: dict[Architecture, Evaluation] = {}
    found = []
    try:
        for number, (device, study) in enumerate(zip(prepared.devices, studies, strict=True)):
            on_event(Event("phase", f"Searching for {device.target.key}: {device.feasible.words()}", fields={"phase": "search"}))
            until = _until(deadline_s, number, len(studies))
            found.append(search_device(prepared, device, study, store, executor, accuracies, on_event, stop, until))
    finally:
        executor.close()
    return found


def _until(deadline_s: float | None, number: int, devices: int) -> float | None:
    """When a device's search must end: what time is left is shared as evaluations are."""
    if deadline_s is None:
        return None
    own, others = (1.0 if number == 0 else FURTHER), FURTHER * (devices - number - 1)
    now = time.monotonic()
    return now + max(0.0, deadline_s - now) * own / (own + others)
