"""The epoch loop: its schedule, what an interruption costs (nothing), and what stops it."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.config import TrainRecipe
from nas.errors import ModelFileError, StoppedError, TrainingError
from nas.training.augmentation import Augmentation
from nas.training.batches import Batches
from nas.training.checkpoints import Checkpoints
from nas.training.data import ImageSet
from nas.training.loop import TrainProgress, train
from nas.training.replicas import Moment

RECIPE = TrainRecipe(batch_size=8)
EPOCHS, STEPS = 3, 5  # 40 images in batches of 8


def batches(count: int = 40) -> Batches:
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), np.uint8)
    return Batches(ImageSet(images, np.arange(count) % 3), (0.5,), (0.3,), 8, 0, Augmentation(crop=True, flip=True))


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 3))
    return layers.to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


def step(model: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> float:
    # Noise that follows from the step number, as the random networks of the supernet do.
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(moment.number))
    loss = F.cross_entropy(model(images + 0.1 * noise), labels)
    torch.autograd.backward(loss)
    return loss.item()


def run(model: nn.Module, **options: Any) -> Any:
    return train(model, step, batches(), RECIPE, epochs=EPOCHS, lr=0.1, **options)


def after(count: int) -> Callable[[], bool]:
    """True at the call of that number and from then on."""
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls >= count

    return stop


def newest(folder: Path) -> Any:
    """State of the newest checkpoint in a folder."""
    found = Checkpoints(folder).newest()
    assert found is not None
    return found[1]


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.fixture(scope="module")
def uninterrupted() -> nn.Module:
    model = network()
    result = run(model)
    assert (result.steps, result.epochs) == (EPOCHS * STEPS, EPOCHS)
    assert not model.training
    assert not same(model, network())
    return model


@pytest.mark.parametrize("stops", [[1], [5], [7], [14], [15], [2, 3, 1, 4]], ids=str)
def test_stopped_and_resumed_is_as_if_never_stopped(tmp_path: Path, uninterrupted: nn.Module, stops: list[int]) -> None:
    """In the first step, at the end of an epoch, in the middle of one, before the last step, after it, and again and again."""
    checkpoint = tmp_path / "checkpoints"
    for number, count in enumerate(stops):
        with pytest.raises(StoppedError, match=f"in epoch {(sum(stops[: number + 1]) - 1) // STEPS + 1} of 3: the training is saved"):
            run(network(), checkpoint=checkpoint, stop=after(count))
        assert newest(checkpoint)["step"] == sum(stops[: number + 1])
    model = network()
    assert run(model, checkpoint=checkpoint).steps == EPOCHS * STEPS
    assert same(model, uninterrupted)


@pytest.mark.parametrize("crash", [4, 8, 13])
def test_a_crash_loses_an_epoch_at_most_and_changes_nothing(tmp_path: Path, uninterrupted: nn.Module, crash: int) -> None:
    checkpoint = tmp_path / "checkpoints"
    model = network()

    def crashing(model: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> float:
        if moment.number == crash:
            raise KeyboardInterrupt
        return step(model, images, labels, moment)

    with pytest.raises(KeyboardInterrupt):
        train(model, crashing, batches(), RECIPE, epochs=EPOCHS, lr=0.1, checkpoint=checkpoint)
    assert checkpoint.exists() == (crash >= STEPS)
    resumed = network()
    run(resumed, checkpoint=checkpoint)
    assert same(resumed, uninterrupted)


def test_a_training_that_is_done_is_not_done_again(tmp_path: Path, uninterrupted: nn.Module) -> None:
    checkpoint = tmp_path / "checkpoints"
    before = run(network(), checkpoint=checkpoint)
    model = network()
    again = run(model, checkpoint=checkpoint)
    assert (again.steps, again.epochs) == (before.steps, before.epochs)
    assert same(model, uninterrupted)


@pytest.mark.parametrize("stop", [5, 7, 15])
def test_every_epoch_is_told_once_wherever_it_is_stopped(tmp_path: Path, stop: int) -> None:
    """Also one that ends as the training is stopped."""
    told: list[int] = []
    listening = {"checkpoint": tmp_path / "checkpoints", "on_epoch": lambda progress: told.append(progress.epoch)}
    with pytest.raises(StoppedError):
        run(network(), stop=after(stop), **listening)
    assert told == list(range(1, stop // STEPS + 1))
    run(network(), **listening)
    assert told == [1, 2, 3]


def test_a_crash_while_an_epoch_is_told_tells_it_again(tmp_path: Path, uninterrupted: nn.Module) -> None:
    told: list[int] = []

    def crashing(progress: TrainProgress) -> None:
        told.append(progress.epoch)
        if told == [1, 2]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(network(), checkpoint=tmp_path / "checkpoints", on_epoch=crashing)
    model = network()
    run(model, checkpoint=tmp_path / "checkpoints", on_epoch=crashing)
    assert told == [1, 2, 2, 3]
    assert same(model, uninterrupted)


def test_the_seconds_before_a_resume_count(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoints"
    with pytest.raises(StoppedError):
        run(network(), checkpoint=checkpoint, stop=after(3))
    seconds = newest(checkpoint)["seconds"]
    assert seconds > 0
    assert run(network(), checkpoint=checkpoint).seconds > seconds


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoints"
    run(network(), checkpoint=checkpoint)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(ModelFileError, match=r"step-000000015\.safetensors: is of another network: delete it"):
        run(other, checkpoint=checkpoint)


# --- the schedule, seen through a parameter whose gradient is one -----------------------------------------------------------------


class Ramp(nn.Module):
    """A parameter that each step moves by the learning rate."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros((), dtype=torch.float64))


PLAIN = TrainRecipe(batch_size=8, momentum=0.0, weight_decay=0.0, ema_decay=0.0)


def rates(epochs: int, lr: float = 0.4, seconds: float = 0.0, monkeypatch: pytest.MonkeyPatch | None = None, **options: Any) -> list[float]:
    """Learning rate of each step; the clock stands still but for `seconds` a step."""
    now = 0.0
    if monkeypatch is not None:
        monkeypatch.setattr(time, "perf_counter", lambda: now)
    model, places = Ramp(), [0.0]

    def step(model: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> float:
        nonlocal now
        assert moment.number == len(places) - 1
        now += seconds
        places.append(model.place.item())
        loss = model.place * 1.0
        torch.autograd.backward(loss)
        return loss.item()

    train(model, step, batches(), PLAIN, epochs=epochs, lr=lr, **options)
    places.append(model.place.item())
    return [-float(moved) for moved in np.diff(places[1:])]


def one_cycle(share: float) -> float:
    return 0.1 + 9 * share if share < 0.1 else (1 + math.cos(math.pi * (share - 0.1) / 0.9)) / 2


def test_the_learning_rate_is_one_cycle() -> None:
    found = rates(epochs=10)
    assert found == pytest.approx([0.4 * one_cycle(step / 50) for step in range(50)])
    assert max(found) == found[5] == pytest.approx(0.4)
    assert found[0] == pytest.approx(0.04)
    assert found[-1] < 0.002


def test_a_time_budget_runs_the_whole_schedule_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """50 steps of a second each in 20 seconds: 20 steps, at the rates of the same cycle."""
    found = rates(epochs=10, seconds=1.0, monkeypatch=monkeypatch, budget_s=20.0)
    assert found == pytest.approx([0.4 * one_cycle(second / 20) for second in range(20)])
    plenty = rates(epochs=10, seconds=1.0, monkeypatch=monkeypatch, budget_s=1000.0)
    assert plenty == pytest.approx([0.4 * one_cycle(step / 50) for step in range(50)])


def test_a_budget_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = tmp_path / "checkpoints"
    with pytest.raises(StoppedError):
        rates(epochs=10, seconds=1.0, monkeypatch=monkeypatch, budget_s=20.0, checkpoint=checkpoint, stop=after(15))
    model, steps = Ramp(), []

    def step(model: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> float:
        steps.append(moment.number)
        (model.place * 1.0).backward()
        return 0.0

    monkeypatch.setattr(time, "perf_counter", lambda: float(len(steps)))
    result = train(model, step, batches(), PLAIN, epochs=10, lr=0.4, budget_s=20.0, checkpoint=checkpoint)
    assert steps == list(range(15, 20))
    assert (result.steps, result.seconds) == (20, 20.0)
    expected = -0.4 * sum(one_cycle(second / 20) for second in range(20))
    assert model.place.item() == pytest.approx(expected)


def test_large_gradients_are_clipped_and_weights_alone_decay() -> None:
    model = nn.Linear(2, 1)
    nn.init.ones_(model.weight)
    nn.init.ones_(model.bias)
    before = copy.deepcopy(model)
    recipe = PLAIN.model_copy(update={"weight_decay": 0.5, "grad_clip": 2.0})

    def step(model: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> float:
        loss = 1e6 * model.bias.sum() + 0.0 * model.weight.sum()
        torch.autograd.backward(loss)
        return loss.item()

    train(model, step, batches(8), recipe, epochs=1, lr=1.0)
    # One step at a tenth of the peak rate: the bias moves by the clipped gradient, the weight by its decay.
    assert model.bias.item() == pytest.approx(before.bias.item() - 0.1 * 2.0)
    torch.testing.assert_close(model.weight, before.weight * (1 - 0.1 * 0.5))


def test_a_cosine_begins_at_its_peak() -> None:
    found = []
    model = Ramp()

    def step(model: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> float:
        found.append(model.place.item())
        (model.place * 1.0).backward()
        return 0.0

    train(model, step, batches(), PLAIN.model_copy(update={"schedule": "cosine"}), epochs=2, lr=0.4)
    moved = -np.diff([*found, model.place.item()])
    assert moved == pytest.approx([0.2 * (1 + math.cos(math.pi * step / 10)) for step in range(10)])


# --- the average of the weights -----------------------------------------------------------------------------------------------------


def test_it_ends_with_the_average_of_the_weights() -> None:
    """A mean of all steps until the horizon of the decay is reached, then a running one."""
    model, places = Ramp(), []

    def step(model: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> float:
        places.append(model.place.item())
        (model.place * 1.0).backward()
        return 0.0

    train(model, step, batches(), PLAIN.model_copy(update={"ema_decay": 0.75}), epochs=2, lr=0.4)
    raw = [*places[1:], places[-1] - 0.4 * one_cycle(9 / 10)]
    mean = 0.0
    for number, place in enumerate(raw, 1):
        decay = min(0.75, number / (number + 1))
        mean = decay * mean + (1 - decay) * place
    assert model.place.item() == pytest.approx(mean)


def test_between_epochs_the_model_holds_the_average_and_may_end() -> None:
    raw: list[dict[str, Tensor]] = []
    seen: list[dict[str, Tensor]] = []
    model = network()

    def noting(model: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> float:
        if moment.number == STEPS:
            raw.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return step(model, images, labels, moment)

    def on_epoch(progress: TrainProgress) -> bool:
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return progress.epoch == 2

    result = train(model, noting, batches(), RECIPE, epochs=EPOCHS, lr=0.1, on_epoch=on_epoch)
    assert (result.steps, result.epochs, result.complete) == (2 * STEPS, 2, False)
    assert not torch.equal(raw[0]["0.weight"], seen[0]["0.weight"])
    assert all(torch.equal(seen[1][name], parameter) for name, parameter in model.named_parameters())


def test_a_training_is_complete_where_no_budget_hurried_it() -> None:
    assert run(network(), budget_s=1000.0).complete
    assert not run(network(), budget_s=1e-3).complete


# --- what it tells, and what stops it ---------------------------------------------------------------------------------------------


def test_progress_goes_from_begin_to_end() -> None:
    told: list[TrainProgress] = []
    run(network(), on_progress=told.append)
    assert [progress.epoch for progress in told] == [1, 2, 3]
    assert [progress.share for progress in told] == pytest.approx([1 / 3, 2 / 3, 1])
    assert all(progress.epochs == EPOCHS and math.isfinite(progress.loss) and progress.images_per_s > 0 for progress in told)
    assert told[-1].seconds_left == 0
    assert told[0].seconds_left > 0


def test_images_a_second_are_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """42 images and a batch size of 128: a step of a second is 42 images, not 128."""
    now, told = 0.0, list[TrainProgress]()
    monkeypatch.setattr(time, "perf_counter", lambda: now)

    def step(model: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> float:
        nonlocal now
        now += 1.0
        (model.place * 1.0).backward()
        return 0.0

    recipe, few = PLAIN.model_copy(update={"batch_size": 128}), dataclasses.replace(batches(42), batch_size=128)
    train(Ramp(), step, few, recipe, epochs=3, lr=0.4, on_progress=told.append)
    assert [progress.images_per_s for progress in told] == pytest.approx([42.0] * 3)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_it(bad: float) -> None:
    model = network()
    with pytest.raises(TrainingError, match=rf"the loss is {bad} in step 7 at learning rate 0\.1: try a smaller one"):
        train(model, lambda *args: bad if args[3].number == 7 else step(*args), batches(), RECIPE, epochs=EPOCHS, lr=0.1)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_gradients_that_are_not_finite_stop_it_before_the_weights_are_lost(bad: float) -> None:
    """As when a small network of the supernet diverges while the largest, whose loss is returned, does not."""
    model = network()

    def diverging(model: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> float:
        loss = step(model, images, labels, moment)
        if moment.number == 14:
            grad = next(model.parameters()).grad
            assert grad is not None
            grad[0, 0, 0, 0] = bad
        return loss

    with pytest.raises(TrainingError, match=r"gradient is (nan|inf) in step 14"):
        train(model, diverging, batches(), RECIPE, epochs=EPOCHS, lr=0.1)
    assert all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())
