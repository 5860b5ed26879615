"""Training of one network: a finalist from inherited weights or from scratch, with a teacher where there is one."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.config import TrainRecipe
from nas.models.folding import fold_batch_norm
from nas.models.lanes import threads_for
from nas.models.network import Network, recalibrate
from nas.models.weights import load_weights, save_weights
from nas.training.batches import Batches, tensors
from nas.training.checkpoints import Checkpoints
from nas.training.data import ImageData
from nas.training.evaluate import accuracy, calibration_images, images_at_once
from nas.training.loop import TrainProgress, train
from nas.training.memory import kept_memory
from nas.training.oneshot import fit_size, soft_cross_entropy
from nas.training.replicas import Moment, Replicas, Step

__all__ = ["Fitted", "Times", "fit", "fit_average", "plain_step", "softened", "time_network"]

PATIENCE, PATIENCE_SHARE = 4, 0.5
"""Epochs, and share of all epochs, without a better score on search-validation after which training ends: the larger of the two, because
scores may well fall until the learning rate does."""
LEAST_S = 0.5
"""Of training, however long the teacher was asked."""
AVERAGED_SHARE = 0.1
SMALLEST_PROBABILITY = 1e-12
BEST = "best.safetensors"
"""File beside the checkpoints: the weights of the best epoch until now."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a training made of a network.

    Attributes:
        before, after: images of search-validation classified right, with the weights it began with and with those it ended with.
        images: of search-validation.
        best_epoch: whose weights were kept; 0 where those before were the best.
        epochs: that were begun.
        seconds: of training, asking the teacher included.
    """

    before: int
    after: int
    images: int
    best_epoch: int
    epochs: int
    seconds: float

    def __str__(self) -> str:
        """One sentence for the record."""
        if not self.epochs:
            return f"weights as inherited: {self.before / self.images:.4f} on search-validation"
        took = f"{self.epochs} epoch{'s' if self.epochs > 1 else ''} ({self.seconds:.0f} s)"
        if not self.best_epoch:
            return f"{took} did not help on search-validation: weights as before, {self.before / self.images:.4f}"
        gain = 100 * (self.after - self.before) / self.images
        kept = f", best at epoch {self.best_epoch}" if self.best_epoch < self.epochs else ""
        shares = f"{self.before / self.images:.4f} to {self.after / self.images:.4f}"
        return f"{took}{kept}, search-validation {shares} ({gain:+.1f} points)"


def plain_step(recipe: TrainRecipe) -> Step:
    """A training step of one network: cross entropy with the labels and, where batches have a teacher's answers, with them by
    `recipe.distill_weight` (Hinton et al. 2015, arXiv:1503.02531, section 2: at temperature T both are softened, and the loss is multiplied
    by T squared)."""
    temperature = recipe.finetune_temperature

    def step(network: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> float:
        logits, answers = network(images), None
        if labels.dim() == 3:
            labels, answers = labels.unbind(dim=1)
        loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        if answers is not None:
            soft = temperature**2 * soft_cross_entropy(logits / temperature, softened(answers, temperature))
            loss = (1 - recipe.distill_weight) * loss + recipe.distill_weight * soft
        torch.autograd.backward(loss * moment.weight)
        return float(loss.item())

    return step


def softened(probabilities: Tensor, temperature: float) -> Tensor:
    """Probabilities (batch, classes) at a temperature: their logarithms divided by it, summing to 1 again."""
    if temperature == 1:
        return probabilities
    return (probabilities.clamp(min=SMALLEST_PROBABILITY).log() / temperature).softmax(dim=1)


def fit_average(recipe: TrainRecipe, steps: int) -> TrainRecipe:
    """The recipe with weights averaged over a tenth of a training of that many steps at most: a longer average would look back to its
    begin."""
    return recipe.model_copy(update={"ema_decay": min(recipe.ema_decay, max(0.0, 1 - 1 / (AVERAGED_SHARE * steps)))})


def fit(
    network: Network,
    ask: Callable[[], Tensor] | None,
    data: ImageData,
    recipe: TrainRecipe,
    seed: int,
    *,
    epochs: int,
    lr: float,
    budget_s: float | None = None,
    checkpoint: Path | None = None,
    on_progress: Callable[[TrainProgress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Fitted:
    """Trains in place and ends with the weights, averaged as the recipe says, of the epoch that was best on search-validation.

    Those the network came with count as one of them. The test set is not looked at. Ends early where search-validation does not improve.

    Args:
        network: in eval mode with batch norm recalibrated.
        ask: for a teacher's answers to the training images (`nas.training.answers.answers`), within the time budget, where the recipe wants
            them; None for no teacher.
        budget_s: seconds from now on, whatever a training that goes on took before; None for all epochs.
        checkpoint: folder to go on from after an interruption; removed by nobody here.

    Raises:
        TrainingError, StoppedError: as `nas.training.loop.train`.
    """
    calibration = calibration_images(data)

    def score() -> int:
        batches = tensors(data.search_validation, data.mean, data.std, images_at_once(network.blocks))
        return accuracy(fold_batch_norm(network), batches)[0]

    best = _Best(network, score(), checkpoint / BEST if checkpoint else None)

    def on_epoch(progress: TrainProgress) -> bool:
        recalibrate(network, calibration)
        best.offer(progress.epoch, score())
        network.train()
        return progress.epoch - best.epoch >= max(PATIENCE, math.ceil(PATIENCE_SHARE * epochs))

    if not epochs:
        return Fitted(best.before, best.before, len(data.search_validation), 0, 0, 0.0)
    began = time.perf_counter()
    batches = Batches.of(data, recipe, seed, ask() if ask is not None and recipe.distill_weight else None)
    asked_s = time.perf_counter() - began
    before_s = 0.0 if budget_s is None or checkpoint is None else Checkpoints(checkpoint).seconds()
    until_s = None if budget_s is None else before_s + max(LEAST_S, budget_s - asked_s)
    result = train(
        network, plain_step(recipe), batches, fit_average(recipe, epochs * len(batches)), epochs=epochs, lr=lr, budget_s=until_s,
        checkpoint=checkpoint, on_progress=on_progress, on_epoch=on_epoch, stop=stop,
    )  # fmt: skip
    if not result.complete:  # a time budget ended it within an epoch
        recalibrate(network, calibration)
        best.offer(result.epochs, score())
    best.restore()
    return Fitted(best.before, best.correct, len(data.search_validation), best.epoch, result.epochs, asked_s + result.seconds)


class _Best:
    """The best weights until now, on the disk too where a training may be interrupted.

    Args:
        correct: images that the network classifies right as it is.
    """

    def __init__(self, network: Network, correct: int, path: Path | None) -> None:
        self._network = network
        self._path = path
        self.before = self.correct = correct
        self.epoch = 0
        self._weights = self._copy()
        if path is not None and path.is_file():
            self._weights, state = load_weights(path)
            self.epoch, self.correct = int(state["epoch"]), int(state["correct"])

    def offer(self, epoch: int, correct: int) -> None:
        """The network as it is after an epoch. The later one of equals counts."""
        if correct < self.correct:
            return
        self.epoch, self.correct, self._weights = epoch, correct, self._copy()
        if self._path is not None:
            save_weights(self._path, self._weights, {"schema": 1, "epoch": epoch, "correct": correct})

    def restore(self) -> None:
        """Puts the best weights into the network, in eval mode."""
        self._network.load_state_dict(self._weights)
        self._network.eval()

    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self._network.state_dict().items()}


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of a training step of one network, and of its evaluation: batch norm recalibrated, all of search-validation classified."""

    step_s: float
    evaluation_s: float


def time_network(network: Network, data: ImageData, recipe: TrainRecipe) -> Times:
    """Times one step, and recalibration and evaluation with a batch for each thread, on a copy, and multiplies.

    Args:
        data: of any size; images are resized to that of the network.
    """
    scratch, size = copy.deepcopy(network), network.blocks[0].in_size
    images, labels = next(iter(Batches.of(data, recipe, 0).epoch(0)))
    images = fit_size(images, size)
    step, calibration = plain_step(recipe), calibration_images(data)
    some = [fit_size(each, size) for each in calibration[: threads_for(scratch)]]
    with kept_memory():
        with Replicas(scratch.train(), recipe, len(images)) as replicas:
            step_s = min(_seconds(lambda: replicas.step(step, images, labels, Moment(0, 0.0))) for _ in range(2))
        recalibrate_s = min(_seconds(lambda: recalibrate(scratch, some)) for _ in range(2)) / len(some)
        folded, batch_size = fold_batch_norm(scratch), images_at_once(network.blocks)
        chosen = islice(tensors(data.search_validation, data.mean, data.std, batch_size), threads_for(scratch))
        batches = [(fit_size(x, size), y) for x, y in chosen]
        image_s = min(_seconds(lambda: accuracy(folded, batches)) for _ in range(3)) / sum(len(labels) for _, labels in batches)
    return Times(step_s, len(calibration) * recalibrate_s + len(data.search_validation) * image_s)


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
