"""The only epoch loop: supernet and single networks train through it. It owns schedule, clipping, checkpoints and the time budget."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.config import TrainRecipe
from nas.errors import ModelFileError, StoppedError, TrainingError
from nas.models.weights import load_weights, save_weights
from nas.training.batches import Batches

__all__ = ["TrainProgress", "TrainResult", "train"]

WARMUP = 0.1
"""Share of the schedule in which the learning rate rises."""


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """Where a training stands.

    Attributes:
        share: of the schedule that is done, 0..1.
        loss: mean over the steps since the last report.
    """

    epoch: int
    epochs: int
    share: float
    loss: float
    images_per_s: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a training ended.

    Attributes:
        seconds: of training, those before a resume included.
        epochs: passes begun.
    """

    steps: int
    epochs: int
    seconds: float
    loss: float


def train(
    model: nn.Module,
    step: Callable[[Tensor, Tensor, int], float],
    batches: Batches,
    recipe: TrainRecipe,
    *,
    epochs: int,
    lr: float,
    budget_s: float | None = None,
    checkpoint: Path | None = None,
    on_progress: Callable[[TrainProgress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """SGD with Nesterov momentum, a one-cycle schedule and gradient clipping.

    Args:
        step: (images, labels, step number) -> loss; does the forward and backward passes. The step number is the only seed it may use.
        budget_s: seconds after which the schedule must be over; it is run faster, not cut off. None for all epochs.
        checkpoint: file that is written every epoch and when stopped, read back when it exists; an interrupted training goes on exactly.
        stop: asked after every step.

    Raises:
        TrainingError: the loss or its gradient is not finite.
        StoppedError: `stop` said so; the checkpoint is written.
    """
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
    total = epochs * len(batches)
    done, before_s = _resume(checkpoint, model, optimizer)
    started, loss = time.perf_counter(), math.nan
    losses: list[float] = []

    def elapsed() -> float:
        return before_s + time.perf_counter() - started

    def share() -> float:
        by_time = elapsed() / budget_s if budget_s else 0.0
        return min(1.0, max(done / total, by_time))

    model.train()
    first_done = done
    while done < total and share() < 1:
        epoch, offset = divmod(done, len(batches))
        for images, labels in batches.epoch(epoch, offset):
            for group in optimizer.param_groups:
                group["lr"] = lr * _one_cycle(share())
            optimizer.zero_grad(set_to_none=True)
            loss = step(images, labels, done)
            if not math.isfinite(loss):
                raise TrainingError(f"the loss is {loss} in step {done} at learning rate {lr:g}: try a smaller one")
            norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.grad_clip).item()
            if not math.isfinite(norm):  # the loss may be that of one network, and another's has diverged
                raise TrainingError(f"the gradient is {norm} in step {done} at learning rate {lr:g}: try a smaller one")
            optimizer.step()
            losses.append(loss)
            done += 1
            if on_progress and (len(losses) >= 10 or done % len(batches) == 0):
                spent = time.perf_counter() - started
                rate = (done - first_done) / spent
                left = min((total - done) / rate, budget_s - elapsed() if budget_s else math.inf)
                mean = sum(losses) / len(losses)
                on_progress(TrainProgress(epoch + 1, epochs, share(), mean, rate * batches.batch_size, max(0.0, left)))
                losses.clear()
            if stop and stop():
                _save(checkpoint, model, optimizer, done, elapsed())
                raise StoppedError(f"stopped in epoch {epoch + 1} of {epochs}: the training is saved")
            if share() >= 1:
                break
        _save(checkpoint, model, optimizer, done, elapsed())
    model.eval()
    return TrainResult(done, -(-done // len(batches)), elapsed(), loss)


def _one_cycle(share: float) -> float:
    """Learning rate over its peak: linear rise from a tenth, then half a cosine (Smith & Topin 2018, arXiv:1708.07120)."""
    if share < WARMUP:
        return 0.1 + 0.9 * share / WARMUP
    return 0.5 * (1 + math.cos(math.pi * (share - WARMUP) / (1 - WARMUP)))


def _tensors(model: nn.Module, optimizer: torch.optim.SGD) -> Mapping[str, Tensor]:
    momenta = {name: optimizer.state[p]["momentum_buffer"] for name, p in model.named_parameters() if p in optimizer.state}
    return {f"model.{k}": v for k, v in model.state_dict().items()} | {f"momentum.{k}": v for k, v in momenta.items()}


def _save(checkpoint: Path | None, model: nn.Module, optimizer: torch.optim.SGD, done: int, seconds: float) -> None:
    if checkpoint:
        save_weights(checkpoint, _tensors(model, optimizer), {"schema": 1, "step": done, "seconds": seconds})


def _resume(checkpoint: Path | None, model: nn.Module, optimizer: torch.optim.SGD) -> tuple[int, float]:
    """Puts model and optimizer where the checkpoint left them; (0, 0.0) without one."""
    if not checkpoint or not checkpoint.is_file():
        return 0, 0.0
    tensors, state = load_weights(checkpoint)
    try:
        model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    except RuntimeError as exc:
        raise ModelFileError(f"{checkpoint}: is of another network: delete it to train anew") from exc
    for name, parameter in model.named_parameters():
        if f"momentum.{name}" in tensors:
            optimizer.state[parameter]["momentum_buffer"] = tensors[f"momentum.{name}"].clone(memory_format=torch.preserve_format)
    return int(state["step"]), float(state["seconds"])
