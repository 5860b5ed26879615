"""A step in parts, side by side: what it computes, and that nobody can tell how many threads there were."""

from __future__ import annotations

import copy
import dataclasses
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nas.compress.fake_quant import FakeQuantNetwork
from nas.config import TrainRecipe
from nas.errors import StoppedError
from nas.models.network import Network, recalibrate
from nas.training.batches import Batches
from nas.training.data import ImageData, ImageSet
from nas.training.evaluate import calibration_images
from nas.training.finetune import fit
from nas.training.loop import TrainResult, train
from nas.training.oneshot import build_supernet, train_supernet
from nas.training.replicas import PART, Moment, Replicas, images_of_part
from tests.spaces import make_space, rich_space

RECIPE = TrainRecipe(batch_size=2 * PART, flip=False)


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Ranged(nn.Module):
    """Has a buffer that each pass changes and that decides its output, as rounded activations have."""

    top: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("top", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.top.lerp_(x.detach().amax(), 0.1)
        return x.clamp(max=float(self.top))


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), Ranged(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 3))
    return nn.Sequential(*layers).train()


def top_of(model: nn.Module) -> Tensor:
    (found,) = (module.top for module in model.modules() if isinstance(module, Ranged))
    return found


def step(model: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> float:
    loss = F.cross_entropy(model(images), labels)
    torch.autograd.backward(loss * moment.weight)
    return loss.item()


def batch(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, 8, 8, generator=generator), torch.randint(0, 3, (count,), generator=generator)


def gradients(model: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def closest(one: nn.Module, other: nn.Module) -> float:
    """Largest difference of a weight or buffer."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 4), st.integers(2, 200), st.integers(2, 80), st.floats(0.1, 1.0))
def test_gradients_are_those_of_the_parts_one_after_the_other(threads: int, images: int, micro_batch: int, weight: float) -> None:
    """Each part with batch norm of its own, weighted by its share of the images; none larger than asked for but for a lone image."""
    torch.set_num_threads(threads)
    model, plain = network(), network()
    for each in (model, plain):
        top_of(each).fill_(99.0)
    some, labels = batch(images)
    recipe = TrainRecipe(micro_batch=micro_batch)
    with Replicas(model, recipe, images) as replicas:
        loss = replicas.step(step, some, labels, Moment(0, 0.0, weight))
    count = max(1, min(math.ceil(images / micro_batch), images // 2))
    expected, start = 0.0, 0
    for rows in np.array_split(np.arange(images), count):
        assert 2 <= len(rows) <= max(micro_batch, 3 if micro_batch == 2 else 2)
        part = slice(start, start := start + len(rows))
        top_of(plain).fill_(99.0)
        expected += step(plain, some[part], labels[part], Moment(0, 0.0, weight * len(rows) / images)) * len(rows) / images
    assert loss == pytest.approx(expected, rel=1e-5)
    for found, wanted in zip(gradients(model), gradients(plain), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-6)


def test_each_part_says_where_it_is_and_what_it_weighs() -> None:
    seen: list[tuple[int, int, float, int]] = []
    lock = threading.Lock()

    def noting(model: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> float:
        with lock:
            seen.append((moment.offset, len(images), moment.weight, torch.get_num_threads()))
        return step(model, images, labels, moment)

    with Replicas(network(), RECIPE, 4 * PART) as replicas:
        replicas.step(noting, *batch(4 * PART), Moment(7, 0.5, 0.5, 1000))  # of the second process
        replicas.step(noting, *batch(PART), Moment(8, 0.5, 1.0, 1000))
    assert sorted(seen[:4]) == [(1000 + PART * number, PART, 0.125, 1) for number in range(4)]
    assert seen[4:] == [(1000, PART, 1.0, 2)]  # one part: with all threads
    assert torch.get_num_threads() == 2


def test_the_recipe_decides_the_parts() -> None:
    small, large = TrainRecipe(micro_batch=8), TrainRecipe(micro_batch=1000)
    assert [images_of_part(recipe, network(), 100) for recipe in (RECIPE, small, large)] == [PART, 8, 100]
    assert images_of_part(RECIPE, network(), 10) == 10
    on_gpu = network().to("meta")  # any device but a CPU
    assert [images_of_part(recipe, on_gpu, 1000) for recipe in (RECIPE, small)] == [1000, 8]


def test_copies_have_the_weights_mode_and_buffers_of_the_model() -> None:
    """Also where the model comes in eval mode, and where a step with one part or its owner changed the buffers in between."""
    model = network().eval()
    seen: list[tuple[nn.Module, bool, float]] = []

    def noting(own: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> float:
        seen.append((own, own.training, float(top_of(own))))
        return step(own, images, labels, moment)

    with Replicas(model, RECIPE, 2 * PART) as replicas:
        model.train()
        replicas.step(noting, *batch(2 * PART), Moment(0, 0.0))
        torch.optim.SGD(model.parameters(), lr=0.1).step()
        replicas.step(noting, *batch(PART), Moment(1, 0.0))
        top_of(model).fill_(7.0)
        replicas.step(noting, *batch(2 * PART), Moment(2, 0.0))
    assert {id(own) for own, _, _ in seen[:2]} == {id(own) for own, _, _ in seen[3:]}
    assert all(training for _, training, _ in seen)
    assert [top for _, _, top in seen[3:]] == [7.0, 7.0]
    (other,) = {own for own, _, _ in seen} - {model}
    for own, shared in zip(model.parameters(), other.parameters(), strict=True):
        assert own.data_ptr() == shared.data_ptr()
        assert shared.grad is None
    tops = [float(top_of(own)) for own in (model, other)]
    assert tops[0] != tops[1]  # the mean of both; the copy is given it before its next step
    assert len(gradients(model)) == 6


def test_what_a_part_raises_is_raised_and_nothing_of_it_stays() -> None:
    def failing(model: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> float:
        loss = step(model, images, labels, moment)
        if moment.offset:
            raise MemoryError("the second part")
        return loss

    model, plain = network(), network()
    with Replicas(model, RECIPE, 2 * PART) as replicas:
        with pytest.raises(MemoryError, match="the second part"):
            replicas.step(failing, *batch(2 * PART), Moment(0, 0.0))
        model.load_state_dict(plain.state_dict())
        model.zero_grad()
        replicas.step(step, *batch(2 * PART), Moment(0, 0.0))
    with Replicas(plain, RECIPE, 2 * PART) as replicas:
        replicas.step(step, *batch(2 * PART), Moment(0, 0.0))
    assert all(torch.equal(one, other) for one, other in zip(gradients(model), gradients(plain), strict=True))
    assert torch.get_num_threads() == 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("replica")]


def trained(folder: Path | None = None, stop_at: int = 0) -> tuple[nn.Module, TrainResult | None]:
    images = np.random.default_rng(0).integers(0, 256, (5 * PART, 8, 8, 1), np.uint8)
    batches = Batches(ImageSet(images, np.arange(len(images)) % 3), (0.5,), (0.3,), 2 * PART, 0)
    model, calls = network(), iter(range(1, 100))
    try:
        result = train(model, step, batches, RECIPE, epochs=2, lr=0.1, checkpoint=folder, stop=lambda: next(calls) == stop_at)
    except StoppedError:
        return model, None
    return model, result


@pytest.mark.parametrize("stop_at", [3, 4])
def test_trainings_repeat_and_go_on_exactly(tmp_path: Path, stop_at: int) -> None:
    """Two batches of two parts and one of one part in each epoch; stopped at the end of one and within one."""
    whole, result = trained()
    again, _ = trained()
    assert result is not None
    assert result.steps == 6
    _, stopped = trained(tmp_path, stop_at)
    assert stopped is None
    resumed, _ = trained(tmp_path)
    assert closest(whole, again) == closest(whole, resumed) == 0


def with_threads(count: int, make: Callable[[], nn.Module]) -> nn.Module:
    torch.set_num_threads(count)
    return make()


def test_threads_change_nothing_but_rounding(digits: ImageData) -> None:
    """Of a supernet, of a network that comes in eval mode with its batch norm recalibrated, and of one that is trained with rounding."""
    few = dataclasses.replace(digits, train=ImageSet(digits.train.images[:400], digits.train.labels[:400]))
    recipe = RECIPE.model_copy(update={"epochs": 1, "lr": 0.1, "drop_path": 0.3})
    space = make_space()

    def supernet() -> nn.Module:
        made = build_supernet(rich_space(), 0)
        train_supernet(made, rich_space(), few, recipe, 0)
        return made

    def single() -> Network:
        torch.manual_seed(0)
        made = Network(space.decode(space.largest))
        recalibrate(made, calibration_images(few))
        fit(made, None, few, recipe, 0, epochs=2, lr=0.1)
        return made

    assert closest(with_threads(1, supernet), with_threads(2, supernet)) < 1e-3
    one, two = (with_threads(count, single) for count in (1, 2))
    assert closest(one, two) < 1e-3
    before = FakeQuantNetwork(one, calibration_images(few))

    def rounded() -> nn.Module:
        made = copy.deepcopy(before)
        fit(made, None, few, recipe, 0, epochs=1, lr=1e-4)
        return made

    one, two = (with_threads(count, rounded) for count in (1, 2))
    assert closest(one, two) < 1e-2  # a rounding that falls on the other side is a step of the grid
    assert closest(one, before) > 1e-3
