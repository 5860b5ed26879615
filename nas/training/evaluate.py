"""Accuracy of a network on a set of images, with its standard error; and what has to be done before it can be counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from nas.architecture import BlockSpec
from nas.cost import count
from nas.errors import TrainingError
from nas.metrics import Metric, standard_error
from nas.models.lanes import each_on_a_thread, threads_for
from nas.training.batches import Batch, tensors
from nas.training.data import ImageData

__all__ = ["accuracy", "accuracy_metric", "calibration_images", "images_at_once"]

CALIBRATION_BATCHES, CALIBRATION_BATCH_SIZE = 16, 64
"""Images for exact batch-norm statistics. 16 batches of 64 rank networks as 20 of 256 do, in a fifth of the time (docs/evaluators.md)."""
CACHE_BYTES = 16 * 2**20
"""Of the activations of one layer. Measured on two server cores: 32 to 64 CIFAR images at once take half the time of 16, a third of 512."""
MOST_AT_ONCE = 256


@torch.inference_mode()
def accuracy(network: nn.Module, batches: Iterable[Batch]) -> tuple[int, int]:
    """How many images a network in eval mode classifies right, and how many there are.

    Raises:
        TrainingError: logits that are not finite, or no images.
    """

    def count_right(batch: Batch) -> tuple[int, int]:
        images, labels = batch
        logits = network(images)
        if not bool(torch.isfinite(logits).all()):
            raise TrainingError("the network's outputs are not finite: its weights have diverged (try a smaller learning rate)")
        return int((logits.argmax(dim=1) == labels).sum()), len(labels)

    counts = each_on_a_thread(lambda: count_right, batches, threads_for(network))
    if not counts:
        raise TrainingError("accuracy needs at least one image")
    return sum(correct for correct, _ in counts), sum(total for _, total in counts)


def accuracy_metric(correct: int, total: int, source: Literal["supernet", "trained"]) -> Metric:
    """Accuracy with its standard error, which follows from the number of images."""
    return Metric(correct / total, "1", source, std=standard_error(correct, total))


def images_at_once(blocks: Sequence[BlockSpec]) -> int:
    """Batch size for inference on a CPU: as many images as leave the largest layer in its cache."""
    return max(1, min(MOST_AT_ONCE, CACHE_BYTES // count(blocks).peak_activation_bytes))


def calibration_images(data: ImageData) -> list[Tensor]:
    """Training images as they are, spread over the classes, (at most 64, chs, size, size) each; no batch is a small rest.

    The statistics are averages over batches: a rest of one image would weigh as much as 64 others.
    """
    wanted = min(len(data.train), CALIBRATION_BATCHES * CALIBRATION_BATCH_SIZE)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[:wanted].numpy()
    images = type(data.train)(data.train.images[order], data.train.labels[order])
    batches = -(-wanted // CALIBRATION_BATCH_SIZE)
    return [batch for batch, _ in tensors(images, data.mean, data.std, -(-wanted // batches))]
