"""Training of the supernet: sandwich rule with in-place distillation (Yu & Huang 2019, arXiv:1903.05134)."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.architecture import BlockSpec
from nas.config import TrainRecipe
from nas.models.supernet import Supernet
from nas.space import SearchSpace
from nas.training.batches import Batches
from nas.training.data import ImageData
from nas.training.loop import TrainProgress, TrainResult, train

__all__ = ["build_supernet", "fit_size", "sandwich_step", "soft_cross_entropy", "supernet_key", "time_step", "train_supernet"]


def supernet_key(space: SearchSpace, data: ImageData, recipe: TrainRecipe, seed: int, budget_s: float | None) -> str:
    """16 hex digits: two trainings with one key give the same weights, so the second need not run."""
    facts = {
        "blocks": [block.to_dict() for block in space.blocks],
        "data": data.fingerprint,
        "recipe": recipe.model_dump(exclude={"finetune_epochs", "finetune_lr"}),
        "seed": seed,
        "budget_s": budget_s,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def build_supernet(space: SearchSpace, seed: int) -> Supernet:
    """An untrained supernet, its weights decided by the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Supernet(space.blocks)


def fit_size(images: Tensor, size: int) -> Tensor:
    """Images (batch, chs, h, w) resized to (batch, chs, size, size) where they are not: for spaces with elastic resolution."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def soft_cross_entropy(logits: Tensor, teacher: Tensor) -> Tensor:
    """Mean cross entropy of logits (batch, classes) against the teacher's probabilities (batch, classes)."""
    return -(teacher * F.log_softmax(logits, dim=1)).sum(dim=1).mean()


def sandwich_step(supernet: Supernet, networks: list[tuple[BlockSpec, ...]], images: Tensor, labels: Tensor, recipe: TrainRecipe) -> float:
    """Forward and backward passes of one step; gradients add up in the shared weights.

    Args:
        networks: the largest first: it learns from the labels, all others from its outputs too.

    Returns:
        loss of the largest.
    """
    teacher: Tensor | None = None
    first_loss = 0.0
    for blocks in networks:
        logits = supernet(fit_size(images, blocks[0].in_size), blocks)
        loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        if teacher is None:
            teacher, first_loss = logits.detach().softmax(dim=1), loss.item()
        else:
            loss = (1 - recipe.distill_weight) * loss + recipe.distill_weight * soft_cross_entropy(logits, teacher)
        loss.backward()  # type: ignore[no-untyped-call]
    return first_loss


def time_step(supernet: Supernet, space: SearchSpace, data: ImageData, recipe: TrainRecipe, seed: int) -> tuple[float, float]:
    """Seconds of a training step, and of one image through the largest network; timed on a copy."""
    scratch = copy.deepcopy(supernet).train()
    images, labels = next(iter(Batches(data.train, data.mean, data.std, recipe.batch_size, seed).epoch(0)))
    archs = [space.largest, space.smallest, *(space.sample(i) for i in range(recipe.random_subnets))]
    networks = [space.decode(arch) for arch in archs]
    step_s = _fastest(lambda: sandwich_step(scratch, networks, images, labels, recipe))
    scratch.eval()
    with torch.no_grad():
        forward_s = _fastest(lambda: scratch(fit_size(images, networks[0][0].in_size), networks[0]))
    return step_s, forward_s / len(images)


def _fastest(run: Callable[[], object]) -> float:
    """Seconds of the faster of two runs after one that warms up."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times[1:])


def train_supernet(
    supernet: Supernet,
    space: SearchSpace,
    data: ImageData,
    recipe: TrainRecipe,
    seed: int,
    *,
    budget_s: float | None = None,
    checkpoint: Path | None = None,
    on_progress: Callable[[TrainProgress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """Trains in place. Each step runs the largest, the smallest and `recipe.random_subnets` random networks.

    Raises:
        TrainingError, StoppedError: as `nas.training.loop.train`.
    """
    largest, smallest = space.decode(space.largest), space.decode(space.smallest)

    def step(images: Tensor, labels: Tensor, number: int) -> float:
        rng = np.random.default_rng([seed, number])
        drawn = [space.decode(space.sample(rng)) for _ in range(recipe.random_subnets)]
        return sandwich_step(supernet, [largest, smallest, *drawn], images, labels, recipe)

    batches = Batches(data.train, data.mean, data.std, recipe.batch_size, seed, recipe.augment, recipe.flip)
    return train(
        supernet, step, batches, recipe, epochs=recipe.epochs, lr=recipe.lr, budget_s=budget_s, checkpoint=checkpoint,
        on_progress=on_progress, stop=stop,
    )  # fmt: skip
