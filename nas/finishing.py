"""From what was selected to finalists: each candidate fine-tuned, tested, measured where it can be, and shipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

from nas.config import MeasureProtocol, SearchConfig
from nas.errors import InputError, NasError, StoppedError, StudyError
from nas.events import Event, Listener
from nas.hardware.file_latency import file_latency
from nas.measuring import HOST
from nas.metrics import Candidate, Metric
from nas.opening import clock, own_storage, shared_storage
from nas.precision import int8_latency
from nas.preparation import Device, Prepared, prepare
from nas.provenance import context_of
from nas.pruning import Made
from nas.recording import Selection, refuse_other_images
from nas.report.study import load_config
from nas.schedule import Pace
from nas.search import storage
from nas.search.evaluators import EvaluatorContext
from nas.search.evaluators.supernet import SupernetEvaluator
from nas.search.finalists import Finalist, FinalistMaker
from nas.search.kept import keep_failure, keep_finalist, whole_finalist
from nas.target import Target
from nas.training.loop import TrainProgress

__all__ = ["make_finalist", "make_finalists", "maker_of", "telling"]


def make_finalists(
    prepared: Prepared, context: EvaluatorContext, folder: Path, studies: Sequence[storage.Study], selections: list[Selection],
    on_event: Listener, stop: Callable[[], bool], pace: Pace,
) -> list[Made]:  # fmt: skip
    """Makes the finalists of every device; those that an earlier run made are taken from the storage.

    Args:
        pace: of these and of what they are pruned to.
    """
    total = sum(len(selection.finalists) for selection in selections)
    on_event(
        Event("phase", f"Fine-tuning, testing and exporting {total} finalist{'s' if total != 1 else ''}", fields={"phase": "finalists"})
    )
    to_prune = 0 if prepared.config.prune is None else total
    supernet = cache(partial(SupernetEvaluator, context))
    pairs = [(study, candidate) for study, selection in zip(studies, selections, strict=True) for candidate in selection.finalists]
    there = {candidate.arch for study, candidate in pairs if whole_finalist(study, candidate, folder) is not None}
    to_train = {candidate.arch for _, candidate in pairs} - there  # once for all devices
    made, number = [], 0
    for device, study, selection in zip(prepared.devices, studies, selections, strict=True):
        targets = {each.target for each in selection.finalists}
        makers = {target: maker_of(prepared, context, folder, on_event, device, target, supernet) for target in targets}
        finalists: dict[str, Finalist] = {}
        notes: dict[str, str] = {}
        for candidate in selection.finalists:
            kept = whole_finalist(study, candidate, folder)
            number += 1
            networks = len(to_train) + to_prune
            budget_s = pace.share_s(networks, networks)
            try:
                ready = kept or _make(
                    makers[candidate.target], candidate, budget_s, telling(on_event, f"finalist {number} of {total}"), stop
                )
            except StoppedError:
                raise
            except NasError as exc:
                to_train.discard(candidate.arch)
                notes[candidate.id] = f"failed as a finalist: {exc}"
                keep_failure(study, candidate, notes[candidate.id])
                on_event(Event("warning", f"{candidate.id} failed as a finalist: {exc}"))
                continue
            keep_finalist(study, ready)
            finalists[candidate.id] = ready
            if candidate.arch in to_train:
                to_train.remove(candidate.arch)
                pace.shipped(ready.files_s)
            test = ready.candidate.metrics["accuracy_test"].value
            words = f"{candidate.id}: test accuracy {test:.4f}, {ready.note}"
            on_event(Event("finalist", words, share=number / total, fields={"id": candidate.id}))
            if ready.doubt:
                on_event(Event("warning", f"{candidate.id}: {ready.doubt}"))
        made.append((finalists, notes))
    return made


def maker_of(
    prepared: Prepared, context: EvaluatorContext, folder: Path, on_event: Listener, device: Device, target: Target,
    supernet: Callable[[], SupernetEvaluator] | None = None,
) -> FinalistMaker:  # fmt: skip
    """Of finalists for one target of a device.

    Args:
        supernet: opens what they are taken from, for makers that share it.
    """
    config = prepared.config
    measure = _on_host(target, config.measure, on_event)
    return FinalistMaker(context, config.recipe, folder, measure, _teacher(config), int8_latency(device, target), supernet)


def _on_host(target: Target, protocol: MeasureProtocol, on_event: Listener) -> Callable[[Path], Metric] | None:
    """Measures a model file where the target is this machine, and tells what is wrong with the measurement."""
    if target.device != HOST:
        return None

    def measure(path: Path) -> Metric:
        return file_latency(path, target.runtime, target.threads, protocol, lambda text: on_event(Event("warning", text)))

    return measure


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


def telling(on_event: Listener, what: str) -> Callable[[TrainProgress], None]:
    def tell(progress: TrainProgress) -> None:
        text = f"{what}: epoch {progress.epoch}/{progress.epochs}, loss {progress.loss:.3f}, {progress.images_per_s:.0f} images/s"
        on_event(Event("progress", text, share=progress.share, seconds_left=progress.seconds_left))

    return tell


def _teacher(config: SearchConfig) -> Path | None:
    return None if config.teacher is None else Path(config.teacher)


def make_finalist(folder: Path, candidate: Candidate, on_event: Listener, stop: Callable[[], bool]) -> Finalist:
    """Fine-tunes, tests and exports a candidate of a study that is no finalist yet, and measures it where its device is this machine.

    Raises:
        StudyError: the images or devices are not those that the study began with, or the storage has lost the study.
        InputError: the candidate was pruned.
    """
    config, _ = load_config(folder)
    if candidate.arch.widths:
        raise InputError(f"{candidate.id} was pruned, and its files are gone: nas search --resume {folder.name} makes them again")
    prepared = prepare(config, folder.parent, on_event, stop)
    refuse_other_images(folder, prepared.data, prepared.cache)
    store = shared_storage(prepared, resume=True) or own_storage(folder)
    context = context_of(prepared, clock(prepared, store), on_event, stop)
    maker = maker_of(prepared, context, folder, on_event, _device_of(prepared, candidate), candidate.target)
    return maker.make(candidate, None, telling(on_event, candidate.id), stop)


def _device_of(prepared: Prepared, candidate: Candidate) -> Device:
    """The device that a candidate is for.

    Raises:
        StudyError: the study's profiles have other names by now.
    """
    name = candidate.target.device
    found = {device.target.device: device for device in prepared.devices}
    if name not in found:
        raise StudyError(f"{candidate.id} is for {name}, and the study's devices are {', '.join(found)} now: put its profile back")
    return found[name]
