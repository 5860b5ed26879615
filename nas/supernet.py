"""`nas train-supernet`: the supernet alone, found trained or trained, with its progress in MLflow."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nas.config import TrainRecipe
from nas.errors import StoppedError
from nas.events import Event, Listener
from nas.report.course import Status
from nas.report.runs import Point, StudyRun
from nas.report.tracking import Background, Connection, Tracker, TrackingError, epoch_points
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
    few = "" if request.first else data.few_steps(request.recipe.epochs, request.recipe.batch_size)  # given weights are not at chance
    for warning in filter(None, (*data.warnings(), few)):
        on_event(Event("warning", warning))
    return data


@contextmanager
def _tracked(request: Request, job: SupernetJob, on_event: Listener) -> Iterator[Listener]:
    """A listener that logs epochs to MLflow too, in the background. MLflow failing is a warning, never the end of a training."""
    if job.found() is not None or not request.recipe.epochs:
        yield on_event
        return
    epochs = _Epochs(request, job)

    def listen(event: Event) -> None:
        on_event(event)
        if event.kind == "epoch":
            epochs.add(event.fields)

    status: Status = "FAILED"
    try:
        yield listen
        status = "FINISHED"
    except (StoppedError, KeyboardInterrupt):
        status = "KILLED"
        raise
    finally:
        error = epochs.finish(status)
        if error is not None:
            on_event(Event("warning", f"MLflow does not have all of this training: {error}"))


class _Epochs:
    """The run of a training, sent in the background. What was not sent yet is kept: a few numbers an epoch."""

    def __init__(self, request: Request, job: SupernetJob) -> None:
        recipe = json.loads(request.recipe.model_dump_json())
        config = {"space": request.space, "data": request.data, "seed": request.seed, "recipe": recipe}
        name = f"supernet-{job.home().name}"
        self._study = StudyRun(name, job.space.name, config, job.data.to_dict(), request.data, kind="supernet")
        self._waiting: deque[Point] = deque()
        self._status: Status = "RUNNING"
        self._is_started = False
        connection = Connection(request.runs, request.tracking_uri)
        self._tracker = Tracker(connection)
        self._background = Background(connection, self._send)
        self._background.wake()

    def add(self, fields: Mapping[str, object]) -> None:
        self._waiting.extend(epoch_points(fields, int(time.time() * 1000)))
        self._background.wake()

    def finish(self, status: Status) -> TrackingError | None:
        self._status = status
        self._background.wake()
        return self._background.close()

    def _send(self) -> None:
        if not self._is_started:
            self._tracker.start(self._study)
            self._is_started = True
        points = list(self._waiting)
        self._tracker.log_points(points)
        for _ in points:
            self._waiting.popleft()
        if self._status != "RUNNING":
            self._tracker.finish(self._status)
