"""A training step in parts of a batch, which threads compute side by side, each with a copy of the model that has the same weights.

Threads that share the operations of one pass wait for each other after every layer; parts of a batch need nothing of each other until
their gradients are added up. Batch norm sees each part by itself, as it does in the processes of a team (`nas.training.parallel`; Goyal et
al. 2017, arXiv:1706.02677, section 2.3, where parts are of 32 images). What the parts are follows from the recipe and not from the number
of threads: more threads are faster, and round sums otherwise, and that is all.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType

import torch
from torch import Tensor, nn

from nas.config import TrainRecipe
from nas.models.lanes import threads_for, use_threads

__all__ = ["Moment", "Replicas", "Step", "images_of_part"]

PART = 64
"""Images of a part on a CPU: at half of it, the least that a rest can be, statistics are still hardly noisy (Wu & He 2018,
arXiv:1803.08494, figure 1)."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a step happens, and to which part of a batch.

    Attributes:
        number: of the step, from 0 on: with `offset` the only seed that a step may use.
        share: of the schedule that is done, 0..1.
        weight: of these images in the gradient: their share of the batch, that of other processes included.
        offset: of their first one in the batch.
    """

    number: int
    share: float
    weight: float = 1.0
    offset: int = 0


Step = Callable[[nn.Module, Tensor, Tensor, Moment], float | Tensor]
"""(model, images, labels, moment) -> mean loss of the images: forward and backward passes, whose gradients, times the moment's weight, it
adds to those of the model. Called by several threads at once, each with a model of its own."""


def images_of_part(recipe: TrainRecipe, model: nn.Module, images: int) -> int:
    """How many images of a batch of `images` pass through the model at once: what the recipe says; else all on a GPU, 64 on a CPU."""
    weight = next(model.parameters(), None)
    usual = PART if weight is None or weight.device.type == "cpu" else images
    return min(recipe.micro_batch or usual, images)


Part = tuple[Tensor, Tensor, Moment]
"""Images, labels, and which they are."""


@dataclass(frozen=True, slots=True)
class _Done:
    """What came of a part: its loss, and the model's buffers after it."""

    loss: float | Tensor
    buffers: Sequence[Tensor]


class Replicas:
    """A model and copies of it that have its parameters, with gradients and buffers of their own; a context that ends its threads.

    Gradients are added up in the order of the copies: what comes out does not depend on which thread was faster. Buffers become the mean of
    what the parts made of them, each beginning with those before the step.

    Args:
        images: of a batch.
    """

    def __init__(self, model: nn.Module, recipe: TrainRecipe, images: int) -> None:
        self._part = images_of_part(recipe, model, images)
        count = max(1, min(threads_for(model), -(-images // self._part)))
        self._models = [model, *(_sharing(model) for _ in range(count - 1))]
        self._parameters = [list(each.parameters()) for each in self._models]
        self._threads = torch.get_num_threads()
        each = max(1, self._threads // count)
        self._pool = ThreadPoolExecutor(count, "replica", initializer=use_threads, initargs=(each,)) if count > 1 else None

    def __enter__(self) -> Replicas:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._pool is not None:
            try:
                self._pool.shutdown()
            finally:
                use_threads(self._threads)  # the copies' number would be that of threads to come

    def step(self, step: Step, images: Tensor, labels: Tensor, moment: Moment) -> float | Tensor:
        """One step over a batch, or over what this process has of one; gradients add up in the model.

        Returns:
            mean loss of the images.

        Raises:
            Exception: the first that `step` raised for a part; the model's gradients are of no use then.
        """
        model, *others = self._models
        parts = _parts(images, labels, moment, self._part)
        if len(parts) == 1:
            return step(model, *parts[0])
        for other in others:
            if other.training != model.training:
                other.train(model.training)
        done = self._side_by_side(step, parts, [buffer.clone() for buffer in model.buffers()])
        for parameters in self._parameters[1:]:
            _move_gradients(parameters, self._parameters[0])
        _put_means(list(model.buffers()), [each.buffers for each in done])
        return sum(each.loss * (part.weight / moment.weight) for each, (_, _, part) in zip(done, parts, strict=True))

    def _side_by_side(self, step: Step, parts: Sequence[Part], before: list[Tensor]) -> list[_Done]:
        """In the order of the parts. When it returns or raises, no thread computes."""
        count = len(self._models)
        if self._pool is None:
            return _one_by_one(step, self._models[0], parts, before)
        running = [self._pool.submit(_one_by_one, step, model, parts[n::count], before) for n, model in enumerate(self._models)]
        try:
            wait(running)
            results = [future.result() for future in running]
        except BaseException:
            for other in self._models[1:]:
                other.zero_grad(set_to_none=True)
            raise
        finally:
            del running  # with an exception they would keep its frames, and those all that was computed
        return [results[n % count][n // count] for n in range(len(parts))]


def _sharing(model: nn.Module) -> nn.Module:
    """A copy of a model whose parameters lie where the model's lie."""
    made = copy.deepcopy(model)
    for own, shared in zip(made.parameters(), model.parameters(), strict=True):
        own.data = shared.data
        own.grad = None
        own._backward_hooks = shared._backward_hooks  # which a copy is made without: zeros that stay zero hang on one
    return made


def _parts(images: Tensor, labels: Tensor, moment: Moment, size: int) -> list[Part]:
    """As few parts of at most `size` images as can be, alike in size, none of one image, which batch norm cannot use."""
    total = len(images)
    count = max(1, min(-(-total // size), total // 2))
    found, start = [], 0
    for some, own in zip(images.tensor_split(count), labels.tensor_split(count), strict=True):
        weight = moment.weight * len(some) / total
        found.append((some, own, Moment(moment.number, moment.share, weight, moment.offset + start)))
        start += len(some)
    return found


def _one_by_one(step: Step, model: nn.Module, parts: Sequence[Part], before: list[Tensor]) -> list[_Done]:
    """Every part begins with the same buffers, whichever thread has it."""
    found, buffers = [], list(model.buffers())
    for part in parts:
        _copy(buffers, before)
        loss = step(model, *part)
        found.append(_Done(loss, [buffer.clone() for buffer in buffers]))
    return found


@torch.no_grad()
def _copy(to: list[Tensor], values: list[Tensor]) -> None:
    if to:
        torch._foreach_copy_(to, values)


@torch.no_grad()
def _put_means(own: Sequence[Tensor], found: Sequence[Sequence[Tensor]]) -> None:
    """Of what the parts made of each buffer; what is a count stays one."""
    for buffer, *values in zip(own, *found, strict=True):
        buffer.copy_(torch.stack(values).mean(dim=0) if buffer.is_floating_point() else values[0])


def _move_gradients(others: Sequence[nn.Parameter], own: Sequence[nn.Parameter]) -> None:
    """Adds gradients to those of the same weights, and leaves none behind."""
    sums, terms = [], []
    for other, parameter in zip(others, own, strict=True):
        if other.grad is None:
            continue
        if parameter.grad is None:
            parameter.grad = other.grad
        else:
            sums.append(parameter.grad)
            terms.append(other.grad)
        other.grad = None
    if sums:
        torch._foreach_add_(sums, terms)
