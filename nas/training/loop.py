"""The only epoch loop: supernet and single networks train through it. It owns schedule, averaging, checkpoints and the time budget."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from nas.config import TrainRecipe
from nas.errors import StoppedError, TrainingError
from nas.training.batches import Batch, Batches, part_of
from nas.training.checkpoints import Checkpoints
from nas.training.memory import kept_memory
from nas.training.optimizing import TrainedWeights
from nas.training.parallel import ALONE, Team
from nas.training.replicas import Moment, Replicas, Step

__all__ = ["TrainProgress", "TrainResult", "train"]

REPORT_STEPS = 10
"""Between two reports of progress; on a GPU also between two looks at the loss, each of which waits for it."""
CHECKPOINT_S = 300.0
"""Between two checkpoints at most; there is one after every epoch too."""


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """Where a training stands.

    Attributes:
        share: of the schedule that is done, 0..1.
        loss: mean over the steps since the last report.
        images_per_s: since the training began or was taken up again.
        waiting: share of that time in which the next batch was waited for.
        seconds: of training so far, those before a resume included.
    """

    epoch: int
    epochs: int
    share: float
    loss: float
    images_per_s: float
    seconds_left: float
    waiting: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a training ended.

    Attributes:
        seconds: of training, those before a resume included.
        epochs: passes begun.
        complete: whether all epochs were done at their own pace, not hurried by a time budget or ended early.
    """

    steps: int
    epochs: int
    seconds: float
    loss: float
    complete: bool = True


def train(
    model: nn.Module,
    step: Step,
    batches: Batches,
    recipe: TrainRecipe,
    *,
    epochs: int,
    lr: float,
    budget_s: float | None = None,
    checkpoint: Path | None = None,
    on_progress: Callable[[TrainProgress], None] | None = None,
    on_epoch: Callable[[TrainProgress], bool | None] | None = None,
    stop: Callable[[], bool] | None = None,
    team: Team = ALONE,
) -> TrainResult:
    """SGD with Nesterov momentum, the recipe's schedule, gradient clipping and a running average of the weights, with which it ends.

    Args:
        model: on the team's device.
        step: forward and backward passes over a part of what this process has of a batch.
        budget_s: seconds after which the schedule must be over; it is run faster, not cut off. None for all epochs.
        checkpoint: folder that gets one every epoch, every five minutes and when stopped; an interrupted training goes on exactly.
        on_epoch: called after each epoch, before its checkpoint, while the model holds the averaged weights; True ends the training. With
            several processes it is called in the first one only.
        stop: asked after every step; after the last one of an epoch the epoch is told before the training stops.

    Raises:
        TrainingError: the loss or its gradient is not finite.
        StoppedError: `stop` said so; the checkpoint is written.
        InputError: a checkpoint cannot be written; the one before is as it was.
    """
    weights = TrainedWeights(model, recipe, lr)
    kept = Checkpoints(checkpoint) if checkpoint is not None and team.leads else None
    done, before_s, over = weights.resume(kept) if kept else (0, 0.0, False)
    if team.processes > 1:
        done, before_s, over = weights.join(team, done, before_s, over)
    run = _Run(batches.on(team.device, team.rank, team.processes), epochs, budget_s, before_s, done)
    with kept_memory(), Replicas(model, recipe, team.most_of(recipe.batch_size)) as replicas:
        while not over and run.done < run.total and team.agree([run.share()])[0] < 1:
            ended = _epoch(weights, replicas, step, run, recipe, team, kept, on_progress, stop)
            if run.losses:  # not told yet
                run.progress()
            over = _told(weights, run, on_epoch, team)  # before the checkpoint: an epoch that one says is done has been told
            if run.saved_at != run.done:
                run.save(weights, kept, over=over)
            if run.stopping:
                raise run.stopped()
            over = over or ended
    model.eval()
    weights.average()
    return TrainResult(run.done, -(-run.done // max(1, len(batches))), run.elapsed(), run.loss, run.done == run.total and not run.hurried)


def _epoch(
    weights: TrainedWeights, replicas: Replicas, step: Step, run: _Run, recipe: TrainRecipe, team: Team, kept: Checkpoints | None,
    on_progress: Callable[[TrainProgress], None] | None, stop: Callable[[], bool] | None,
) -> bool:  # fmt: skip
    """The rest of the epoch that `run` is in; True where the schedule is over before its end."""
    model, looks_often = weights.model.train(), team.device.type == "cpu"
    (share,) = team.agree([run.share()])
    for images, labels in run.batches_of_epoch():
        weights.set_rate(share)
        weights.optimizer.zero_grad(set_to_none=True)
        total = run.images_of_step
        offset = part_of(total, team.rank, team.processes).start
        loss = replicas.step(step, images, labels, Moment(run.done, share, len(images) / total, offset))
        team.add_up([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
        norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.grad_clip)
        if looks_often or run.done % REPORT_STEPS == 0:
            _check(loss, norm, run.done, weights.lr)
        weights.update()
        run.took_step(loss)
        if on_progress and team.leads and (len(run.losses) >= REPORT_STEPS or run.at_epoch_end):
            on_progress(run.progress())
        stopping, elapsed, share = team.agree([float(stop is not None and stop()), run.elapsed(), run.share()])
        run.stopping = bool(stopping)
        if run.at_epoch_end:
            continue  # it is told, then saved
        if stopping or elapsed - run.saved_s > CHECKPOINT_S:
            run.save(weights, kept, elapsed)
        if stopping:
            raise run.stopped()
        if share >= 1:
            break
    return share >= 1


def _told(weights: TrainedWeights, run: _Run, on_epoch: Callable[[TrainProgress], bool | None] | None, team: Team) -> bool:
    if on_epoch is None:
        return False
    over = False
    if team.leads:
        with weights.averaged():
            over = bool(on_epoch(run.last))
    return bool(team.agree([float(over)])[0])


def _check(loss: float | Tensor, norm: Tensor, step: int, lr: float) -> None:
    for what, value in (("loss", float(loss)), ("gradient", norm.item())):  # the loss of one network may be finite, another's not
        if not math.isfinite(value):
            raise TrainingError(f"the {what} is {value} in step {step} at learning rate {lr:g}: try a smaller one")


class _Run:
    """How far a training is, and how fast."""

    def __init__(self, batches: Batches, epochs: int, budget_s: float | None, before_s: float, done: int) -> None:
        self._batches = batches
        self._budget_s = budget_s
        self._before_s = self.saved_s = before_s
        self._first = done
        self._started = time.perf_counter()
        self._waited_s = 0.0
        self._images = 0
        self.epochs, self.total = epochs, epochs * len(batches)
        self.done = self.saved_at = done
        self.losses: list[float | Tensor] = []
        self.loss = math.nan
        self.hurried = self.stopping = False
        self.last = TrainProgress(0, epochs, 0.0, math.nan, 0.0, math.inf)

    @property
    def epoch(self) -> int:
        """Of the last step, from 1 on."""
        return -(-self.done // len(self._batches))

    @property
    def at_epoch_end(self) -> bool:
        return self.done % len(self._batches) == 0

    @property
    def images_of_step(self) -> int:
        """Of the next step, those of other processes included."""
        return self._batches.images_of(self.done % len(self._batches))

    def elapsed(self) -> float:
        """Seconds of training, those before a resume included."""
        return self._before_s + time.perf_counter() - self._started

    def stopped(self) -> StoppedError:
        return StoppedError(f"stopped in epoch {self.epoch} of {self.epochs}: the training is saved")

    def share(self) -> float:
        by_time = self.elapsed() / self._budget_s if self._budget_s else 0.0
        if by_time <= (self.done + 1) / self.total:  # less than a step behind: the schedule stays that of a training without a budget
            return self.done / self.total
        self.hurried = True
        return min(1.0, by_time)

    def batches_of_epoch(self) -> Iterator[Batch]:
        epoch, offset = divmod(self.done, len(self._batches))
        coming = self._batches.epoch(epoch, offset)
        try:
            for _ in range(offset, len(self._batches)):
                asked = time.perf_counter()
                batch = next(coming)
                self._waited_s += time.perf_counter() - asked
                yield batch
        finally:
            coming.close()  # type: ignore[attr-defined]

    def took_step(self, loss: float | Tensor) -> None:
        self.losses.append(loss)
        self._images += self.images_of_step
        self.done += 1

    def progress(self) -> TrainProgress:
        """Since the last report."""
        spent = max(time.perf_counter() - self._started, 1e-9)
        rate = (self.done - self._first) / spent
        left = min((self.total - self.done) / rate, self._budget_s - self.elapsed() if self._budget_s else math.inf)
        self.loss = sum(float(loss) for loss in self.losses) / len(self.losses)
        self.losses.clear()
        self.last = TrainProgress(
            self.epoch, self.epochs, self.share(), self.loss, self._images / spent, max(0.0, left), self._waited_s / spent,
            self.elapsed(),
        )  # fmt: skip
        return self.last

    def save(self, weights: TrainedWeights, kept: Checkpoints | None, elapsed: float | None = None, *, over: bool = False) -> None:
        """Writes a checkpoint; `over` where the training ends with it before its last epoch."""
        self.saved_s, self.saved_at = self.elapsed() if elapsed is None else elapsed, self.done
        if kept:
            kept.save(self.done, weights.tensors(), {"seconds": self.elapsed(), "over": over})
