"""Fine-tuning of a network that was extracted from the supernet, with the largest network as its teacher."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.config import TrainRecipe
from nas.models.network import Network, recalibrate
from nas.training.batches import Batches, tensors
from nas.training.data import ImageData
from nas.training.evaluate import accuracy
from nas.training.loop import TrainProgress, TrainResult, train
from nas.training.oneshot import fit_size, soft_cross_entropy

__all__ = ["calibration_images", "finetune"]

CALIBRATION_BATCHES, CALIBRATION_BATCH_SIZE = 8, 256
"""Images for exact batch-norm statistics: 20 batches give the same accuracies as 8 (FINDINGS.md 8)."""


def calibration_images(data: ImageData) -> list[Tensor]:
    """Training images as they are, spread over the classes, (at most 256, chs, size, size) each; no batch is a small rest.

    The statistics are averages over batches: a rest of one image would weigh as much as 256 others.
    """
    count = min(len(data.train), CALIBRATION_BATCHES * CALIBRATION_BATCH_SIZE)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[:count].numpy()
    images = type(data.train)(data.train.images[order], data.train.labels[order])
    batches = -(-count // CALIBRATION_BATCH_SIZE)
    return [batch for batch, _ in tensors(images, data.mean, data.std, -(-count // batches))]


def finetune(
    network: Network,
    teacher: Network | None,
    data: ImageData,
    recipe: TrainRecipe,
    seed: int,
    *,
    budget_s: float | None = None,
    on_progress: Callable[[TrainProgress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainResult | None:
    """Fine-tunes in place; keeps the inherited weights where fine-tuning does not help on search-validation.

    Args:
        network: in eval mode with batch norm recalibrated.
        teacher: in eval mode, of any resolution; None for labels only.

    Returns:
        how the training ended; None where the inherited weights were kept.

    Raises:
        TrainingError, StoppedError: as `nas.training.loop.train`.
    """
    if not recipe.finetune_epochs:
        return None

    def step(images: Tensor, labels: Tensor, number: int) -> float:  # noqa: ARG001
        logits = network(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        if teacher is not None and recipe.distill_weight:
            with torch.no_grad():
                probabilities = teacher(fit_size(images, teacher.blocks[0].in_size)).softmax(dim=1)
            loss = (1 - recipe.distill_weight) * loss + recipe.distill_weight * soft_cross_entropy(logits, probabilities)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.item())

    def score() -> float:
        correct, total = accuracy(network, tensors(data.search_validation, data.mean, data.std, 512))
        return correct / total

    inherited, before = {name: tensor.clone() for name, tensor in network.state_dict().items()}, score()
    batches = Batches(data.train, data.mean, data.std, recipe.batch_size, seed, recipe.augment, recipe.flip)
    result = train(
        network, step, batches, recipe, epochs=recipe.finetune_epochs, lr=recipe.finetune_lr, budget_s=budget_s, on_progress=on_progress,
        stop=stop,
    )  # fmt: skip
    recalibrate(network, calibration_images(data))
    if score() < before:
        network.load_state_dict(inherited)
        return None
    return result
