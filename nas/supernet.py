"""`nas train-supernet`: the supernet alone, found trained or trained, with its progress in MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nas.config import TrainRecipe
from nas.events import Event, Listener
from nas.report.tracking import Tracker, TrackingError
from nas.space import load_space
from nas.training.data import ImageData, load_data
from nas.training.parallel import Team, team
from nas.training.reuse import SupernetFile, SupernetJob

__all__ = ["Request", "train"]


@dataclass(frozen=True, slots=True)
class Request:
    """What `nas train-supernet` is asked for.

    Attributes:
        space, data: names or paths.
        runs: folder of all studies; the supernet goes to its .cache.
        first: weights to start from.
    """

    space: str
    data: str
    recipe: TrainRecipe
    seed: int
    runs: Path
    budget_s: float | None = None
    first: Path | None = None
    tracking_uri: str | None = None


def train(request: Request, on_event: Listener, stop: Callable[[], bool]) -> SupernetFile | None:
    """Trains, or finds it trained. Processes that torchrun started work together; all but the first tell of nothing.

    Returns:
        the file; None in all but the first process.

    Raises:
        InputError: a name, file or number that cannot be used.
        TrainingError, StoppedError: as `nas.training.reuse.SupernetJob.run`.
    """
    with team() as members:
        listener = on_event if members.leads else _silent
        space = load_space(request.space)
        data = _images(request, space.resolutions[-1], listener, members)
        fitting = space.with_data(data.in_chs, data.num_classes)
        job = SupernetJob(fitting, data, request.recipe, request.seed, request.runs / ".cache", request.budget_s, request.first)
        if not members.leads:
            job.run(listener, stop, members)
            return None
        with _tracked(request, job, listener) as tracked:
            return job.run(tracked, stop, members)


def _silent(event: Event) -> None:
    """Hears nothing."""


def _images(request: Request, size: int, on_event: Listener, members: Team) -> ImageData:
    """The images; the first process decodes them, the others find them decoded."""

    def decoding(done: int, total: int) -> None:
        on_event(Event("progress", f"reading {total} images", share=done / max(1, total)))

    if not members.leads:
        members.wait()
    data = load_data(request.data, size, request.seed, request.runs / ".cache", decoding)
    if members.leads:
        members.wait()
    for warning in data.warnings():
        on_event(Event("warning", warning))
    return data


@contextmanager
def _tracked(request: Request, job: SupernetJob, on_event: Listener) -> Iterator[Listener]:
    """A listener that logs epochs to MLflow too. MLflow failing is a warning, never the end of a training."""
    tracker: Tracker | None = Tracker(request.runs, request.tracking_uri)

    def attempt(call: Callable[[Tracker], object]) -> None:
        nonlocal tracker
        try:
            if tracker is not None:
                call(tracker)
        except TrackingError as exc:
            tracker = None
            on_event(Event("warning", f"MLflow gets nothing more of this training: {exc}"))

    def listen(event: Event) -> None:
        on_event(event)
        if event.kind == "epoch":
            attempt(lambda each: each.log_epoch(event.fields))

    if job.found() is not None or not request.recipe.epochs:
        yield on_event
        return
    config = {"space": request.space, "data": request.data, "seed": request.seed, "recipe": json.loads(request.recipe.model_dump_json())}
    name = f"supernet-{job.home().name}"
    tags = {"data_fingerprint": job.data.fingerprint}
    attempt(lambda each: each.start(name, job.space.name, job.data.name, config, tags, kind="supernet"))
    ended = "KILLED"
    try:
        yield listen
        ended = "FINISHED"
    finally:
        attempt(lambda each: each.finish("FINISHED" if ended == "FINISHED" else "KILLED"))
