"""Training of the supernet: sandwich rule with in-place distillation (Yu & Huang 2019, arXiv:1903.05134)."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.architecture import Architecture, BlockSpec
from nas.config import TrainRecipe
from nas.errors import ModelFileError
from nas.models.network import recalibrate
from nas.models.supernet import Supernet
from nas.models.weights import load_weights
from nas.space import SearchSpace
from nas.training.batches import Batches, tensors
from nas.training.data import ImageData, ImageSet
from nas.training.evaluate import accuracy, calibration_images
from nas.training.loop import TrainProgress, TrainResult, train
from nas.training.memory import kept_memory, telling_what_fits
from nas.training.parallel import ALONE, Team
from nas.training.replicas import Moment, Replicas, images_of_part

__all__ = [
    "EpochReport",
    "accuracies",
    "build_supernet",
    "fit_size",
    "load_supernet",
    "sandwich_step",
    "soft_cross_entropy",
    "time_step",
    "train_supernet",
]

AT_FULL_SIZE = Moment(0, 1.0)
GROWN = 0.6
"""Share of the schedule at which images have grown to their full size, where the recipe begins with smaller ones."""
QUICK_IMAGES = 1_000
"""Of search-validation, for the accuracies of an epoch: one standard error is 1 point at 85 %."""
QUICK_BATCHES = 4
"""For batch norm's statistics then."""


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What an epoch of the supernet ended with.

    Attributes:
        largest, smallest: accuracy on a part of search-validation, averaged weights.
        images: how many of search-validation.
        seconds: of training so far, those before a resume included.
    """

    progress: TrainProgress
    largest: float
    smallest: float
    images: int
    seconds: float


def build_supernet(space: SearchSpace, seed: int) -> Supernet:
    """An untrained supernet, its weights decided by the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Supernet(space.blocks)


def load_supernet(space: SearchSpace, path: Path) -> Supernet:
    """A supernet with the weights of a file that was written after a training.

    Raises:
        ModelFileError: it cannot be read, or is of another space.
    """
    weights, _ = load_weights(path)
    supernet = Supernet(space.blocks)
    try:
        supernet.load_state_dict({k.removeprefix("model."): v for k, v in weights.items() if k.startswith("model.")})
    except RuntimeError as exc:
        raise ModelFileError(f"{path}: holds the weights of another space than {space.name}, or of other images") from exc
    return supernet


def fit_size(images: Tensor, size: int) -> Tensor:
    """Images (batch, chs, h, w) resized to (batch, chs, size, size) where they are not: for spaces with elastic resolution."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def soft_cross_entropy(logits: Tensor, teacher: Tensor) -> Tensor:
    """Mean cross entropy of logits (batch, classes) against the teacher's probabilities (batch, classes)."""
    return -(teacher * F.log_softmax(logits, dim=1)).sum(dim=1).mean()


def sandwich_step(
    supernet: Supernet, networks: Sequence[tuple[BlockSpec, ...]], images: Tensor, labels: Tensor, recipe: TrainRecipe,
    moment: Moment = AT_FULL_SIZE, seed: int = 0,
) -> Tensor:  # fmt: skip
    """Forward and backward passes of one step; gradients add up in the shared weights.

    Args:
        networks: the largest first: it learns from the labels, all others from its outputs too.
        images: (batch, chs, size, size), on the supernet's device.
        labels: int64 (batch,), or probabilities (batch, classes).
        moment: decides the image size where the recipe begins with smaller ones, the weight of the gradient and, with `seed`, which
            branches are dropped.

    Returns:
        loss of the largest, 0-d, without its graph.
    """
    keeps = _keeps(networks[0], len(images), recipe.drop_path, np.random.default_rng([seed, moment.number, moment.offset, 1]))
    if keeps is not None:
        keeps = [None if keep is None else keep.to(images.device) for keep in keeps]
    teacher: Tensor | None = None
    first = torch.zeros((), device=images.device)
    for blocks in networks:
        resized = fit_size(images, _grown(blocks[0].in_size, recipe.first_resolution, moment.share))
        with torch.autocast(images.device.type, torch.bfloat16, enabled=images.device.type == "cuda"):
            logits = supernet(resized, blocks, keeps if teacher is None else None)
        logits = logits.float()
        loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        if teacher is None:
            teacher, first = logits.detach().softmax(dim=1), loss.detach()
        else:
            loss = (1 - recipe.distill_weight) * loss + recipe.distill_weight * soft_cross_entropy(logits, teacher)
        torch.autograd.backward(loss * moment.weight)
    return first


def _keeps(blocks: Sequence[BlockSpec], images: int, drop_path: float, rng: np.random.Generator) -> list[Tensor | None] | None:
    """For each block what its branch is multiplied by, (images, 1, 1, 1): 0, or more than 1 so that the mean stays; None for no drops."""
    if not drop_path:
        return None
    residuals = [number for number, block in enumerate(blocks) if block.residual]
    found: list[Tensor | None] = [None] * len(blocks)
    for depth, number in enumerate(residuals):
        keep = 1 - drop_path * depth / max(1, len(residuals) - 1)
        mask = (rng.random((images, 1, 1, 1)) < keep) / keep
        found[number] = torch.from_numpy(mask.astype(np.float32))
    return found


def _grown(size: int, first: float, share: float) -> int:
    """Image size at that share of the schedule: from `first` times the size to all of it, in steps of an eighth of it."""
    factor = first + (1 - first) * min(1.0, share / GROWN)
    eighths = int(8 * factor + 1e-9)
    return max(1, size * eighths // 8)


def time_step(supernet: Supernet, space: SearchSpace, data: ImageData, recipe: TrainRecipe, seed: int, device: torch.device) -> float:
    """Seconds of a training step on a device; timed on a copy.

    Raises:
        TrainingError: not enough memory for a step.
    """
    scratch = copy.deepcopy(supernet).to(device).train()
    images, labels = next(iter(Batches.of(data, recipe, seed).on(device).epoch(0)))
    archs = [space.largest, space.smallest, *(space.sample(i) for i in range(recipe.random_subnets))]
    networks = [space.decode(arch) for arch in archs]

    def step(model: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> Tensor:
        return sandwich_step(cast("Supernet", model), networks, images, labels, recipe, moment)

    with (
        kept_memory(),
        telling_what_fits(images_of_part(recipe, scratch, len(images))),
        Replicas(scratch, recipe, len(images)) as replicas,
    ):
        return _fastest(lambda: float(replicas.step(step, images, labels, AT_FULL_SIZE)))  # a number, which a GPU is waited for


def _fastest(run: Callable[[], object]) -> float:
    """Seconds of the faster of two runs after one that warms up."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times[1:])


def accuracies(
    supernet: Supernet, space: SearchSpace, data: ImageData, archs: Sequence[Architecture], *, quick: bool = False
) -> list[float]:
    """Accuracies of some networks of a supernet on search-validation, batch norm recalibrated.

    Args:
        quick: on a thousand images at most, with half the images for batch norm.
    """
    found = []
    device = next(supernet.parameters()).device
    some, calibration = data.search_validation, calibration_images(data)
    if quick:
        chosen = np.random.default_rng(0).permutation(len(some))[:QUICK_IMAGES]
        some, calibration = ImageSet(some.images[chosen], some.labels[chosen]), calibration[:QUICK_BATCHES]
    for arch in archs:
        blocks = space.decode(arch)
        network, size = supernet.extract(blocks).to(device), blocks[0].in_size
        recalibrate(network, (fit_size(each.to(device), size) for each in calibration))
        batches = ((fit_size(x.to(device), size), y.to(device)) for x, y in tensors(some, data.mean, data.std, 128))
        correct, total = accuracy(network, batches)
        found.append(correct / total)
    return found


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
    on_epoch: Callable[[EpochReport], None] | None = None,
    stop: Callable[[], bool] | None = None,
    team: Team = ALONE,
) -> TrainResult:
    """Trains in place. Each step runs the largest, the smallest and `recipe.random_subnets` random networks.

    Args:
        checkpoint: folder of the checkpoints.

    Raises:
        TrainingError, StoppedError, InputError: as `nas.training.loop.train`; TrainingError where there is not enough memory too.
    """
    largest, smallest = space.decode(space.largest), space.decode(space.smallest)
    supernet.to(team.device)
    at_once = images_of_part(recipe, supernet, team.most_of(recipe.batch_size))

    def step(model: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> Tensor:
        rng = np.random.default_rng([seed, moment.number])
        drawn = [space.decode(space.sample(rng)) for _ in range(recipe.random_subnets)]
        return sandwich_step(cast("Supernet", model), [largest, smallest, *drawn], images, labels, recipe, moment, seed)

    def report(progress: TrainProgress) -> None:
        if on_epoch is not None:
            largest_now, smallest_now = accuracies(supernet, space, data, [space.largest, space.smallest], quick=True)
            on_epoch(EpochReport(progress, largest_now, smallest_now, min(QUICK_IMAGES, len(data.search_validation)), progress.seconds))

    with telling_what_fits(at_once):
        result = train(
            supernet, step, Batches.of(data, recipe, seed), recipe, epochs=recipe.epochs, lr=recipe.lr, budget_s=budget_s,
            checkpoint=checkpoint, on_progress=on_progress, on_epoch=report if on_epoch else None, stop=stop, team=team,
        )  # fmt: skip
    supernet.to("cpu")
    return result
