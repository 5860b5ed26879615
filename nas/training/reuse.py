"""Nothing is trained twice: a supernet is found by the space, images, recipe, seed and first weights, or trained and kept."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from nas.config import TrainRecipe
from nas.errors import InputError, ModelFileError, StudyError
from nas.events import Event, Listener
from nas.files import locked
from nas.models.weights import load_weights, save_weights
from nas.space import SearchSpace
from nas.training.checkpoints import Checkpoints
from nas.training.data import ImageData
from nas.training.loop import TrainProgress, TrainResult
from nas.training.oneshot import EpochReport, accuracies, build_supernet, load_supernet, train_supernet
from nas.training.parallel import ALONE, Team

__all__ = ["EPOCHS", "FINETUNING", "ONESHOT", "SupernetFile", "SupernetJob", "read_supernet_file"]

WEIGHTS = "weights.safetensors"
CHECKPOINTS = "checkpoints"
EPOCHS = "epochs.jsonl"
"""Beside the weights: a line an epoch."""
FOLDER = re.compile(r"(?P<key>[0-9a-f]{16})(-(?P<seconds>[0-9.e+-]+)s)?")
"""Name of a training's folder: its key, and how long it might take."""
FINETUNING = frozenset({"finetune_distill_weight", "finetune_epochs", "finetune_lr", "finetune_temperature"})
"""What of a recipe does not change the supernet."""
ONESHOT = frozenset({"distill_weight", "drop_path", "epochs", "first_resolution", "random_subnets"})
"""What, besides, does not change a network that is trained by itself from scratch."""


@dataclass(frozen=True, slots=True)
class SupernetFile:
    """A trained supernet.

    Attributes:
        seconds: that its training took, whenever it was.
        trained_s: of which in this call; 0 where it was found trained.
        largest, smallest: accuracy on search-validation, 0..1.
    """

    path: Path
    steps: int
    epochs: int
    seconds: float
    trained_s: float
    largest: float
    smallest: float

    def to_state(self) -> dict[str, float]:
        """What stands in the file itself."""
        return {name: getattr(self, name) for name in ("steps", "epochs", "seconds", "largest", "smallest")}


@dataclass(frozen=True, slots=True)
class SupernetJob:
    """A supernet that is wanted.

    Attributes:
        cache: folder of what can be made again; the supernets are in its supernets/.
        budget_s: seconds that the training may take; None for all epochs.
        first: weights to start from; None for random ones, decided by the seed.
        folder: of an earlier training (`named`): no other serves, though it be longer. None for any that does.
    """

    space: SearchSpace
    data: ImageData
    recipe: TrainRecipe
    seed: int
    cache: Path
    budget_s: float | None = None
    first: Path | None = None
    folder: str | None = None

    def named(self, folder: str) -> SupernetJob:
        """That very training, by the name of its folder.

        Raises:
            StudyError: that is no such name.
        """
        match = FOLDER.fullmatch(folder)
        if match is None:
            raise StudyError(f"{folder!r} names no supernet: its folder is 16 hex digits and, with a time budget, -SECONDSs")
        return replace(self, budget_s=float(match["seconds"]) if match["seconds"] else None, folder=folder)

    @property
    def key(self) -> str:
        """16 hex digits of all but the budget: two trainings with one key and one budget give like weights, so the second need not run.

        Raises:
            ModelFileError: the first weights cannot be read.
        """
        if self.folder is not None:
            return self.folder[:16]
        facts = {
            "blocks": [block.to_dict() for block in self.space.blocks],
            "data": self.data.fingerprint,
            "recipe": self.recipe.model_dump(exclude=set(FINETUNING)),
            "seed": self.seed,
            "first": None if self.first is None else _digest(self.first),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def home(self, *, whole: bool = False) -> Path:
        """Folder of its weights and checkpoints.

        Args:
            whole: that of a training without a time budget, which serves every budget.
        """
        name = self.key if whole or self.budget_s is None else self.folder or f"{self.key}-{self.budget_s:.15g}s"
        return self.cache / "supernets" / name

    def found(self) -> Path | None:
        """Weights of a training that was done, to its end or for as long as this one may take or longer, the longest; or None."""
        if self.folder is not None:
            path = self.home() / WEIGHTS
            return path if path.is_file() else None
        longest_s, longest = self._longest()
        return longest if longest_s >= (math.inf if self.budget_s is None else self.budget_s) else None

    def _longest(self) -> tuple[float, Path | None]:
        """What the longest training that was done might take, infinity where it came to its end; and its weights."""
        done: dict[float, Path | None] = {-math.inf: None}
        for weights in self.home(whole=True).parent.glob(f"{self.key}*/{WEIGHTS}"):
            budget = FOLDER.fullmatch(weights.parent.name)
            if budget:
                done[float(budget["seconds"] or math.inf)] = weights
        return max(done.items())

    def run(self, on_event: Listener, stop: Callable[[], bool], team: Team = ALONE) -> SupernetFile:
        """Finds the supernet trained, or trains it, going on from a checkpoint where there is one.

        Raises:
            InputError: another process trains it, or its files cannot be written or read.
            TrainingError: the loss diverged, or there is not enough memory.
            StoppedError: `stop` said so; the same call goes on.
        """
        home = self.home()
        taken = f"another process trains the supernet in {home}: wait until it ends, or stop it"
        if (made := self._made(on_event, team)) is not None:  # it is whole: searches that find it need not wait for each other
            return made
        with locked(home / ".lock", taken) if team.leads else nullcontext():
            if (made := self._made(on_event, team)) is not None:
                return made
            if team.leads and self.folder is None:
                self._tell_shorter(on_event)
            return self._train(home, on_event, stop, team)

    def _tell_shorter(self, on_event: Listener) -> None:
        """Of a training that is there and was not to take as long as this one: somebody may have meant it."""
        longest_s, path = self._longest()
        if path is None:
            return
        wanted = "all epochs" if self.budget_s is None else f"{self.budget_s:.3g} s"
        text = f"a supernet of {longest_s:.3g} s is there and this one takes {wanted}: trained anew"
        on_event(Event("info", f"{text}; to search with that one: --weights {shlex.quote(str(path))} --epochs 0"))

    def _made(self, on_event: Listener, team: Team) -> SupernetFile | None:
        """The supernet where it is trained."""
        path = self.found() if team.leads else None
        if not team.agree([float(path is not None)])[0]:
            return None
        if path is None:  # not the first process: it tells of nothing
            return SupernetFile(self.home() / WEIGHTS, 0, 0, 0.0, 0.0, math.nan, math.nan)
        made = read_supernet_file(path)
        on_event(Event("info", f"supernet found trained ({made.steps} steps, {made.seconds:.0f} s): not trained again"))
        return made

    def _train(self, home: Path, on_event: Listener, stop: Callable[[], bool], team: Team) -> SupernetFile:
        space, data, recipe = self.space, self.data, self.recipe
        supernet = build_supernet(space, self.seed) if self.first is None else load_supernet(space, self.first)
        result = TrainResult(0, 0, 0.0, math.nan)
        started = time.perf_counter()
        if recipe.epochs:
            on_event(Event("phase", f"Training the supernet of {space.name} on {data.name}", fields={"phase": "supernet"}))
            result = train_supernet(
                supernet, space, data, recipe, self.seed, budget_s=self.budget_s, checkpoint=home / CHECKPOINTS,
                on_progress=lambda progress: on_event(_progress(progress)), on_epoch=lambda epoch: _tell_epoch(epoch, home, on_event),
                stop=stop, team=team,
            )  # fmt: skip
        trained_s = time.perf_counter() - started
        path = self.home(whole=result.complete) / WEIGHTS
        if not team.leads:
            return SupernetFile(path, result.steps, result.epochs, result.seconds, trained_s, math.nan, math.nan)
        largest, smallest = accuracies(supernet, space, data, [space.largest, space.smallest])
        made = SupernetFile(path, result.steps, result.epochs, result.seconds, trained_s, largest, smallest)
        state = {"schema": 1, "space": space.name, "data": data.fingerprint, **made.to_state()}
        save_weights(path, {f"model.{name}": tensor for name, tensor in supernet.state_dict().items()}, state)
        if path.parent != home and (home / EPOCHS).is_file():
            (home / EPOCHS).replace(path.parent / EPOCHS)
        Checkpoints(home / CHECKPOINTS).clear()
        took = f"{result.epochs} epochs, {result.steps} steps, {result.seconds:.0f} s" if recipe.epochs else "weights as they are"
        found = f"largest {largest:.2%}, smallest {smallest:.2%} of {len(data.search_validation)} search-validation images"
        on_event(Event("info", f"supernet trained: {took}; {found}"))
        return made


def _progress(progress: TrainProgress) -> Event:
    text = f"supernet: epoch {progress.epoch}/{progress.epochs}, loss {progress.loss:.3f}, {progress.images_per_s:.0f} images/s"
    return Event("progress", text, share=progress.share, seconds_left=progress.seconds_left)


def _tell_epoch(report: EpochReport, home: Path, on_event: Listener) -> None:
    """To the listener, and as a line of the training's own record."""
    progress = report.progress
    fields = {
        "epoch": progress.epoch, "seconds": report.seconds, "loss": progress.loss, "images_per_s": progress.images_per_s,
        "waiting": progress.waiting, "largest": report.largest, "smallest": report.smallest, "images": report.images,
    }  # fmt: skip
    try:
        with (home / EPOCHS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(fields) + "\n")
    except OSError as exc:
        raise InputError(f"cannot write {home / EPOCHS}: {exc.strerror or exc}: free some space, and the same command goes on") from exc
    speed = f"loss {progress.loss:.3f}, {progress.images_per_s:.0f} images/s, {progress.waiting:.1%} of the time waiting for images"
    found = f"largest {report.largest:.1%}, smallest {report.smallest:.1%} of {report.images} search-validation images"
    on_event(Event("epoch", f"  epoch {progress.epoch}/{progress.epochs}: {speed}, {found}", fields=fields))


def read_supernet_file(path: Path) -> SupernetFile:
    """What a file of a trained supernet says of itself.

    Raises:
        ModelFileError: it cannot be read.
    """
    try:
        _, state = load_weights(path)
        steps, epochs, figures = (
            int(state["steps"]),
            int(state["epochs"]),
            [float(state[key]) for key in ("seconds", "largest", "smallest")],
        )
        return SupernetFile(path, steps, epochs, figures[0], 0.0, *figures[1:])
    except (ModelFileError, KeyError, ValueError) as exc:
        raise ModelFileError(f"{exc}: delete it and the supernet is trained again") from exc


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as exc:
        raise ModelFileError(f"{path}: cannot be read ({exc.strerror or exc}): --weights takes a .safetensors file of ours") from exc
