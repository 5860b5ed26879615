"""A network that is trained by itself, from scratch: what a supernet's ranking is held against, and what it competes with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nas.architecture import BlockSpec
from nas.config import TrainRecipe
from nas.models.folding import fold_batch_norm
from nas.models.network import Network, recalibrate
from nas.search.evaluators.from_scratch import fresh_network
from nas.search.finalists import validated
from nas.training.batches import Batches, tensors
from nas.training.data import ImageData
from nas.training.evaluate import accuracy, calibration_images, images_at_once
from nas.training.finetune import fit_average, plain_step
from nas.training.loop import TrainProgress, train

__all__ = ["TrainedAlone", "train_alone"]


@dataclass(frozen=True, slots=True)
class TrainedAlone:
    """What came of a network.

    Attributes:
        accuracy_validation, accuracy_test: of the weights that it ended with, 0..1.
        curve: accuracy on search-validation after each epoch but the last, where somebody asked; averaged weights.
        epochs: that were begun.
        complete: whether its schedule was neither hurried by a time budget nor ended early.
        training_s: search-validation included.
        testing_s: of which nobody knows who only searches.
    """

    accuracy_validation: float
    accuracy_test: float
    curve: tuple[float, ...]
    epochs: int
    complete: bool
    training_s: float
    testing_s: float


def train_alone(
    blocks: Sequence[BlockSpec], data: ImageData, recipe: TrainRecipe, seed: int, epochs: int, *, budget_s: float | None = None,
    is_hopeless: Callable[[Sequence[float]], bool] | None = None,
) -> TrainedAlone:  # fmt: skip
    """One schedule from random weights to its end, labels only. No epoch is chosen afterwards, and the test images are counted once.

    Args:
        seed: of the weights and of the order of the images.
        budget_s: seconds in which the schedule is run, faster if need be; None for its own pace.
        is_hopeless: asked after each epoch but the last with the accuracies on search-validation until then; True ends the training.
            Without it search-validation is looked at once, at the end.

    Raises:
        TrainingError: the loss diverged.
    """
    started = time.perf_counter()
    network, calibration = fresh_network(blocks, seed), calibration_images(data)
    curve: list[float] = []

    def on_epoch(progress: TrainProgress) -> bool:
        if is_hopeless is None or progress.epoch >= epochs:
            return False
        recalibrate(network, calibration)
        curve.append(validated(network, data).value)
        return is_hopeless(curve)

    batches = Batches.of(data, recipe, seed)
    # One thread gains nothing from parts of a batch.
    averaged = fit_average(recipe, epochs * len(batches)).model_copy(update={"micro_batch": recipe.batch_size})
    result = train(network, plain_step(averaged), batches, averaged, epochs=epochs, lr=recipe.lr, budget_s=budget_s, on_epoch=on_epoch)
    recalibrate(network, calibration)
    found = validated(network, data).value
    training_s = time.perf_counter() - started
    test = _tested(network, data)
    return TrainedAlone(
        found, test, tuple(curve), result.epochs, result.complete, training_s, time.perf_counter() - started - training_s
    )  # fmt: skip


def _tested(network: Network, data: ImageData) -> float:
    correct, images = accuracy(fold_batch_norm(network), tensors(data.test, data.mean, data.std, images_at_once(network.blocks)))
    return correct / images
