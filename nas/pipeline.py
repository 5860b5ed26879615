"""The whole path: prepared, trained, searched, selected, made, recorded. No logic of its own: each step is somebody's."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.architecture import Architecture
from nas.config import SearchConfig
from nas.errors import NasError, StoppedError, StudyError
from nas.events import Event, Listener
from nas.hardware.calibrate import measure_model
from nas.metrics import Candidate, Metric
from nas.models.weights import load_weights, save_weights
from nas.preparation import HOST, SEARCH_SHARE, TRAIN_SHARE, Device, Prepared, estimate, prepare
from nas.recording import Recorder, Selection, front_record, save_config, select
from nas.report.front import FrontRecord
from nas.report.study import load_config
from nas.search import engine, storage
from nas.search.evaluators import EvaluatorContext
from nas.search.executors import Evaluation, open_executor
from nas.search.finalists import Finalist, FinalistMaker
from nas.search.sampler import UniqueSampler, sampler
from nas.training.loop import TrainProgress
from nas.training.oneshot import build_supernet, supernet_key, train_supernet

__all__ = ["Result", "make_finalist", "rebuild", "run"]

Made = tuple[dict[str, Finalist], dict[str, str]]
"""Finalists and, of those that failed, why: by candidate id."""

FALLBACK = 1000
"""Feasible architectures that the sampler may fall back on."""
RESERVE_S = 10.0
"""Of a time budget: for plots and MLflow."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a search ended with.

    Attributes:
        folder: of the study.
        fronts: one a device.
        view_path: of the Pareto view behind an MLflow server's address; empty where MLflow failed.
    """

    folder: Path
    fronts: tuple[FrontRecord, ...]
    seconds: float
    view_path: str


def run(config: SearchConfig, runs: Path, on_event: Listener, stop: Callable[[], bool], *, resume: bool = False) -> Result:
    """Searches, or goes on with a search. Everything that is done is saved as it is done.

    Args:
        runs: folder of all studies.
        stop: asked often; True ends the run at the next safe point.
        resume: the study exists already.

    Raises:
        InputError, InfeasibleError: before anything is trained.
        StoppedError: `stop` said so; `resume` goes on.
    """
    started = time.monotonic()
    folder = runs / config.study
    if not resume and folder.exists():
        raise StudyError(f"study {config.study!r} exists already in {runs}: go on with --resume {config.study}, or choose another --study")
    prepared = prepare(config, runs, on_event, stop)
    if resume and load_config(folder)[1] != prepared.data.fingerprint:
        raise StudyError(f"the images of {config.data} are not those that study {config.study} began with: start a new study")
    save_config(folder, config, prepared)
    recorder = Recorder(folder, prepared, on_event)
    recorder.start(runs)
    status = "FAILED"
    try:
        context = _supernet(prepared, recorder.listen, stop)
        deadline = started + (TRAIN_SHARE + SEARCH_SHARE) * config.time_budget_s if config.time_budget_s else None
        studies, done = _search(prepared, context, folder, recorder.listen, stop, deadline)
        selections = [select(prepared, evaluated) for evaluated in done]
        until = started + config.time_budget_s - RESERVE_S if config.time_budget_s else None
        made = _finalists(prepared, context, folder, studies, selections, recorder.listen, stop, until)
        seconds = time.monotonic() - started
        fronts = _record(prepared, recorder, done, selections, made, seconds)
        status = "FINISHED"
    except (StoppedError, KeyboardInterrupt):
        status = "KILLED"
        raise
    finally:
        recorder.finish("FINISHED" if status == "FINISHED" else "KILLED" if status == "KILLED" else "FAILED")
    recorder.listen(Event("done", f"{config.study}: done in {seconds:.0f} s", fields={"seconds": seconds}))
    return Result(folder, fronts, seconds, recorder.view_path)


def rebuild(config: SearchConfig, runs: Path, on_event: Listener) -> Result:
    """Derives files, pictures and MLflow runs of a study from its storage again; trains and evaluates nothing."""
    started = time.monotonic()
    prepared = prepare(config, runs, on_event, lambda: False)
    folder = runs / config.study
    store = _open_storage(config, folder)
    studies = [_open_study(prepared, device, store) for device in prepared.devices]
    done = [storage.evaluated(study) for study in studies]
    selections = [select(prepared, evaluated) for evaluated in done]
    made: list[Made] = []
    for study, selection in zip(studies, selections, strict=True):
        kept = {candidate.id: storage.finalist(study, candidate) for candidate in selection.finalists}
        made.append(({name: found for name, found in kept.items() if found is not None}, {}))
    recorder = Recorder(folder, prepared, on_event)
    recorder.start(runs)
    fronts = _record(prepared, recorder, done, selections, made, time.monotonic() - started)
    recorder.finish("FINISHED")
    return Result(folder, fronts, time.monotonic() - started, recorder.view_path)


def make_finalist(folder: Path, candidate: Candidate, on_event: Listener, stop: Callable[[], bool]) -> Finalist:
    """Fine-tunes, tests and exports a candidate of a study that is no finalist yet."""
    config, _ = load_config(folder)
    prepared = prepare(config, folder.parent, on_event, stop)
    context = _supernet(prepared, on_event, stop)
    return FinalistMaker(context, config.recipe, folder, None).make(candidate, None, _telling(on_event, candidate.id), stop)


def _record(
    prepared: Prepared, recorder: Recorder, done: Sequence[Sequence[storage.Evaluated]], selections: Sequence[Selection],
    made: Sequence[Made], seconds: float,
) -> tuple[FrontRecord, ...]:  # fmt: skip
    fronts = []
    for device, evaluated, selection, (finalists, notes) in zip(prepared.devices, done, selections, made, strict=True):
        extras: dict[str, float | str] = {"trials": float(len(evaluated)), "seconds": seconds, "target": device.target.key}
        fronts.append(front_record(prepared, device, evaluated, selection, finalists, notes, extras))
    recorder.listen(Event("phase", "Writing fronts, pictures and MLflow runs", fields={"phase": "record"}))
    recorder.record(fronts, done)
    return tuple(fronts)


def _open_storage(config: SearchConfig, folder: Path) -> storage.BaseStorage:
    return storage.open_storage(config.storage or f"sqlite:///{(folder / 'study.db').resolve()}")


def _supernet(prepared: Prepared, on_event: Listener, stop: Callable[[], bool]) -> EvaluatorContext:
    """Trains the supernet, or finds it trained: one serves every search with the same space, data, recipe and seed."""
    config, recipe = prepared.config, prepared.config.recipe
    budget_s = TRAIN_SHARE * config.time_budget_s if config.time_budget_s else None
    home = prepared.cache / "supernets" / supernet_key(prepared.space, prepared.data, recipe, config.seed, budget_s)
    weights, checkpoint = home / "weights.safetensors", home / "checkpoint.safetensors"
    supernet = build_supernet(prepared.space, config.seed)
    guess = estimate(prepared, supernet, trained=weights.is_file())
    parts = ", ".join(f"{name} {seconds / 60:.1f}" for name, seconds in guess.seconds.items())
    text = f"about {max(guess.total_s, 1) / 60:.1f} minutes ({parts}) and {guess.disk_bytes / 2**20:.0f} MiB of disk"
    on_event(Event("info", f"This will take {text}", fields={"estimate_s": guess.total_s, "disk_bytes": guess.disk_bytes}))
    if weights.is_file():
        _, state = load_weights(weights)
        on_event(Event("info", f"supernet found trained ({state['steps']} steps, {state['seconds']:.0f} s): not trained again"))
    else:
        on_event(Event("phase", f"Training the supernet of {prepared.space.name} on {prepared.data.name}", fields={"phase": "supernet"}))
        result = train_supernet(
            supernet, prepared.space, prepared.data, recipe, config.seed, budget_s=budget_s, checkpoint=checkpoint,
            on_progress=_telling(on_event, "supernet"), stop=stop,
        )  # fmt: skip
        tensors = {f"model.{name}": tensor for name, tensor in supernet.state_dict().items()}
        save_weights(weights, tensors, {"schema": 1, "steps": result.steps, "epochs": result.epochs, "seconds": result.seconds})
        checkpoint.unlink(missing_ok=True)
        on_event(Event("info", f"supernet trained: {result.epochs} epochs, {result.steps} steps, {result.seconds:.0f} s"))
    threads = max(1, (os.cpu_count() or 1) // config.workers)
    return EvaluatorContext(prepared.space, config.data, config.seed, prepared.cache, weights, threads)


def _search(
    prepared: Prepared, context: EvaluatorContext, folder: Path, on_event: Listener, stop: Callable[[], bool], deadline_s: float | None
) -> tuple[list[storage.Study], list[list[storage.Evaluated]]]:
    """Searches device after device; accuracies are shared, so the second device evaluates only what is new."""
    config = prepared.config
    store = _open_storage(config, folder)
    executor = open_executor(config.evaluator, context, config.workers)
    accuracies: dict[Architecture, Evaluation] = {}
    studies, found = [], []
    try:
        for device in prepared.devices:
            shown = f"{device.feasible.share:.0%} of {device.feasible.scored} scored are feasible"
            on_event(Event("phase", f"Searching for {device.target.key}: {shown}", fields={"phase": "search"}))
            study = _open_study(prepared, device, store)
            problem = engine.Problem(device.scorer, prepared.objectives, config.constraints, device.reference, config.trials)
            studies.append(study)
            found.append(engine.run(problem, study, executor, accuracies, on_event, stop, deadline_s))
    finally:
        executor.close()
    return studies, found


def _open_study(prepared: Prepared, device: Device, store: storage.BaseStorage) -> storage.Study:
    config, space, scorer = prepared.config, prepared.space, device.scorer

    def accept(arch: Architecture) -> bool:
        return bool(scorer.meets(space.encode([arch]), config.constraints)[0])

    rows = device.feasible.rows
    fallback = space.decode_rows(rows[:: max(1, len(rows) // FALLBACK)])
    base = sampler(config.sampler, config.seed, config.trials)
    facts = {"space": space.name, "data": prepared.data.fingerprint, "target": device.target.key, "space_size": str(space.size)}
    unique = UniqueSampler(base, space, accept, fallback, config.seed)
    study = storage.open_study(store, f"{config.study}/{device.target.device}", prepared.objectives, unique, facts)
    if not study.get_trials(deepcopy=False):
        for arch in dict.fromkeys((space.largest, space.smallest)):  # the ends of the front, most likely
            if accept(arch):
                study.enqueue_trial(unique.filled(arch))
    return study


def _finalists(
    prepared: Prepared, context: EvaluatorContext, folder: Path, studies: list[storage.Study], selections: list[Selection],
    on_event: Listener, stop: Callable[[], bool], until_s: float | None,
) -> list[Made]:  # fmt: skip
    """Makes the finalists of every device; those that an earlier run made are taken from the storage."""
    config = prepared.config
    total = sum(len(selection.finalists) for selection in selections)
    on_event(Event("phase", f"Fine-tuning, testing and exporting {total} finalists", fields={"phase": "finalists"}))
    made, number = [], 0
    for device, study, selection in zip(prepared.devices, studies, selections, strict=True):

        def run_here(path: Path, device: Device = device) -> Metric:
            return measure_model(path, device.target, config.measure)

        maker = FinalistMaker(context, config.recipe, folder, run_here if device.target.device == HOST else None)
        finalists: dict[str, Finalist] = {}
        notes: dict[str, str] = {}
        for candidate in selection.finalists:
            kept = storage.finalist(study, candidate)
            number += 1
            budget_s = max(1.0, (until_s - time.monotonic()) / (total - number + 1)) if until_s else None
            try:
                ready = kept or _make(maker, candidate, budget_s, _telling(on_event, f"finalist {number} of {total}"), stop)
            except StoppedError:
                raise
            except NasError as exc:
                notes[candidate.id] = f"failed as a finalist: {exc}"
                on_event(Event("warning", f"{candidate.id} failed as a finalist: {exc}"))
                continue
            storage.keep_finalist(study, ready)
            finalists[candidate.id] = ready
            test = ready.candidate.metrics["accuracy_test"].value
            on_event(Event("finalist", f"{candidate.id}: test accuracy {test:.4f}, {ready.note}", share=number / total))
        made.append((finalists, notes))
    return made


def _make(
    maker: FinalistMaker,
    candidate: Candidate,
    budget_s: float | None,
    on_progress: Callable[[TrainProgress], None],
    stop: Callable[[], bool],
) -> Finalist:
    if stop():
        raise StoppedError("stopped before a finalist: those before it are saved")
    return maker.make(candidate, budget_s, on_progress, stop)


def _telling(on_event: Listener, what: str) -> Callable[[TrainProgress], None]:
    def tell(progress: TrainProgress) -> None:
        text = f"{what}: epoch {progress.epoch}/{progress.epochs}, loss {progress.loss:.3f}, {progress.images_per_s:.0f} images/s"
        on_event(Event("progress", text, share=progress.share, seconds_left=progress.seconds_left))

    return tell
