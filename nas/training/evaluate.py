"""Accuracy of a network on a set of images, with its standard error."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

from nas.errors import TrainingError
from nas.metrics import Metric
from nas.training.batches import Batch

__all__ = ["accuracy", "accuracy_metric"]


@torch.no_grad()
def accuracy(network: nn.Module, batches: Iterable[Batch]) -> tuple[int, int]:
    """How many images a network in eval mode classifies right, and how many there are.

    Raises:
        TrainingError: logits that are not finite, or no images.
    """
    correct = total = 0
    for images, labels in batches:
        logits = network(images)
        if not bool(torch.isfinite(logits).all()):
            raise TrainingError("the network's outputs are not finite: its weights have diverged (try a smaller learning rate)")
        correct += int((logits.argmax(dim=1) == labels).sum())
        total += len(labels)
    if not total:
        raise TrainingError("accuracy needs at least one image")
    return correct, total


def accuracy_metric(correct: int, total: int, source: Literal["supernet", "trained"]) -> Metric:
    """Accuracy with its standard error.

    The error is that of the share (correct + 1) / (total + 2) (Laplace's rule): a perfect score on few images is not called certain.
    """
    smoothed = (correct + 1) / (total + 2)
    return Metric(correct / total, "1", source, std=math.sqrt(smoothed * (1 - smoothed) / (total + 2)))
