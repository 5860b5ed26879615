"""Training of one network: it may help, it may not hurt on search-validation, and it goes on where it was cut off."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas.config import TrainRecipe
from nas.errors import StoppedError, TrainingError
from nas.models.network import Network, recalibrate
from nas.training import finetune
from nas.training.answers import answers
from nas.training.batches import tensors
from nas.training.checkpoints import Checkpoints
from nas.training.data import ImageData, ImageSet, load_data
from nas.training.evaluate import accuracy, calibration_images
from nas.training.finetune import Fitted, fit, fit_average, plain_step, softened, time_network
from nas.training.replicas import Moment
from nas.training.reuse import FINETUNING
from nas.training.teacher import NetworkTeacher
from tests.spaces import make_space

STAGE = {"out_chs": 16, "depth": 2, "kernel_size": 3, "expand_ratio": 2, "stride": 2}
SPACE = make_space(stages=[STAGE])
RECIPE = TrainRecipe(batch_size=64, flip=False, augment=False)


def score(network: Network, data: ImageData) -> int:
    return accuracy(network, tensors(data.search_validation, data.mean, data.std, 512))[0]


def build(data: ImageData, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    network = Network(SPACE.decode(SPACE.largest))
    recalibrate(network, calibration_images(data))
    return network


def quick(
    network: Network, data: ImageData, ask: Callable[[], Tensor] | None = None, epochs: int = 4, lr: float = 0.2, seed: int = 0,
    **options: Any,
) -> Fitted:  # fmt: skip
    return fit(network, ask, data, options.pop("recipe", RECIPE), seed, epochs=epochs, lr=lr, **options)


Trained = tuple[dict[str, torch.Tensor], int]
"""Weights that know most digits, and how many."""


@pytest.fixture(scope="module")
def trained(digits: ImageData) -> Trained:
    network = build(digits)
    fitted = quick(network, digits)
    assert (fitted.epochs, fitted.best_epoch, fitted.images) == (4, 4, 360)
    assert fitted.before < 100 < 250 < fitted.after == score(network, digits)
    assert not network.training
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}, fitted.after


def restored(data: ImageData, trained: Trained) -> Network:
    network = build(data)
    network.load_state_dict(trained[0])
    return network


def is_as_before(network: Network, trained: Trained) -> bool:
    return all(torch.equal(tensor, trained[0][name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(("lr", "seed"), [(0.003, 0), (0.05, 1), (0.5, 2)])
def test_it_never_makes_search_validation_worse(few_digits: ImageData, trained: Trained, lr: float, seed: int) -> None:
    network = restored(few_digits, trained)
    fitted = quick(network, few_digits, epochs=2, lr=lr, seed=seed)
    assert fitted.before == trained[1]
    assert fitted.after == score(network, few_digits) >= trained[1]
    assert not network.training
    assert is_as_before(network, trained) == (fitted.best_epoch == 0)


def test_what_does_not_help_is_undone_and_ends_early(few_digits: ImageData, trained: Trained) -> None:
    """Labels that are all wrong: the longer, the worse."""
    wrong = dataclasses.replace(few_digits, train=ImageSet(few_digits.train.images, (few_digits.train.labels + 1) % 10))
    network = restored(few_digits, trained)
    fitted = quick(network, wrong, epochs=8, lr=0.5)
    assert (fitted.best_epoch, fitted.after) == (0, trained[1])
    assert fitted.epochs == 4
    assert is_as_before(network, trained)
    assert "4 epochs" in str(fitted)
    assert f"did not help on search-validation: weights as before, {trained[1] / 360:.4f}" in str(fitted)


def test_no_epochs_leave_all_as_it_is(few_digits: ImageData, trained: Trained) -> None:
    network = restored(few_digits, trained)
    fitted = quick(network, few_digits, epochs=0)
    assert (fitted.epochs, fitted.before, fitted.after) == (0, trained[1], trained[1])
    assert str(fitted) == f"weights as inherited: {trained[1] / 360:.4f} on search-validation"
    assert is_as_before(network, trained)


def test_the_gain_is_told() -> None:
    assert str(Fitted(700, 732, 1000, 6, 6, 52.4)) == "6 epochs (52 s), search-validation 0.7000 to 0.7320 (+3.2 points)"
    assert str(Fitted(700, 732, 1000, 3, 6, 52.4)).startswith("6 epochs (52 s), best at epoch 3, search-validation")


def test_the_test_set_is_not_looked_at(few_digits: ImageData, trained: Trained) -> None:
    blind = dataclasses.replace(few_digits, test=few_digits.train)
    networks = [restored(few_digits, trained) for _ in range(2)]
    assert quick(networks[0], few_digits, epochs=1).after == quick(networks[1], blind, epochs=1).after
    assert all(torch.equal(a, b) for a, b in zip(*(n.state_dict().values() for n in networks), strict=True))


def test_a_teacher_of_another_resolution_teaches(trained: Trained) -> None:
    """With labels that are all wrong and a loss that is the teacher's alone, the student learns what the teacher knows."""
    larger = load_data("digits", 12, 0)
    wrong = dataclasses.replace(larger, train=ImageSet(larger.train.images, (larger.train.labels + 1) % 10))
    space = make_space(resolution=12, stages=[STAGE])
    teacher = Network(SPACE.decode(SPACE.largest)).eval()
    teacher.load_state_dict(trained[0])
    torch.manual_seed(1)
    student, misled = (Network(space.decode(space.largest)) for _ in range(2))
    misled.load_state_dict(student.state_dict())
    for network in (student, misled):
        recalibrate(network, calibration_images(larger))
    recipe = RECIPE.model_copy(update={"distill_weight": 1.0})
    taught = quick(student, wrong, partial(answers, NetworkTeacher(teacher), wrong, recipe), recipe=recipe, epochs=8)
    assert taught.after > 2 * quick(misled, wrong, recipe=recipe, epochs=4).after
    assert taught.after == score(student, larger) > 120
    assert is_as_before(teacher, trained)
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_it_repeats(few_digits: ImageData) -> None:
    networks = [build(few_digits) for _ in range(2)]
    for network in networks:
        quick(network, few_digits, recipe=RECIPE.model_copy(update={"augment": True}), epochs=1, seed=7)
    assert all(torch.equal(a, b) for a, b in zip(*(n.state_dict().values() for n in networks), strict=True))


def test_one_that_was_stopped_goes_on_to_the_same_weights(few_digits: ImageData, trained: Trained, tmp_path: Path) -> None:
    """Stopped in its third epoch; the best of the first two is remembered too."""
    whole, cut = restored(few_digits, trained), restored(few_digits, trained)
    expected = quick(whole, few_digits, lr=0.01)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 5

    with pytest.raises(StoppedError):
        quick(cut, few_digits, lr=0.01, checkpoint=tmp_path / "training", stop=stop)
    again = restored(few_digits, trained)
    found = quick(again, few_digits, lr=0.01, checkpoint=tmp_path / "training")
    assert dataclasses.replace(found, seconds=0.0) == dataclasses.replace(expected, seconds=0.0)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))


@pytest.mark.parametrize("step", [2, 8])
def test_an_epoch_that_ends_as_it_is_stopped_counts(few_digits: ImageData, tmp_path: Path, step: int) -> None:
    """Two steps an epoch: stopped after the last step of the first one, and of the last one, which is the best."""
    whole, cut, again = (build(few_digits) for _ in range(3))
    expected = quick(whole, few_digits)
    assert expected.best_epoch == expected.epochs == 4
    asked = iter(range(1, 100))
    with pytest.raises(StoppedError):
        quick(cut, few_digits, checkpoint=tmp_path / "training", stop=lambda: next(asked) == step)
    found = quick(again, few_digits, checkpoint=tmp_path / "training")
    assert dataclasses.replace(found, seconds=0.0) == dataclasses.replace(expected, seconds=0.0)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))


def test_one_that_ended_early_is_not_taken_up_again(few_digits: ImageData, trained: Trained, tmp_path: Path) -> None:
    wrong = dataclasses.replace(few_digits, train=ImageSet(few_digits.train.images, (few_digits.train.labels + 1) % 10))
    fitted = [quick(restored(few_digits, trained), wrong, epochs=8, lr=0.5, checkpoint=tmp_path / "training") for _ in range(2)]
    assert [each.epochs for each in fitted] == [4, 4]


def test_stop_and_divergence_are_passed_on(few_digits: ImageData) -> None:
    with pytest.raises(StoppedError):
        quick(build(few_digits), few_digits, stop=lambda: True)
    with pytest.raises(TrainingError, match="try a smaller one"):
        quick(build(few_digits), few_digits, lr=1e30, recipe=RECIPE.model_copy(update={"grad_clip": 1e30}))


def test_a_time_budget_ends_it_within_an_epoch(few_digits: ImageData, trained: Trained) -> None:
    network = restored(few_digits, trained)
    fitted = quick(network, few_digits, epochs=10_000, lr=0.001, budget_s=0.2)
    assert 1 <= fitted.epochs < 10_000
    assert fitted.after == score(network, few_digits) >= trained[1]


def test_what_a_training_took_before_it_goes_on_is_no_part_of_its_budget(few_digits: ImageData, tmp_path: Path) -> None:
    """Two steps an epoch: stopped after the first one, which took longer than there is left."""
    kept = Checkpoints(tmp_path / "training")
    with pytest.raises(StoppedError):
        quick(build(few_digits), few_digits, checkpoint=kept.folder, stop=lambda: True)
    newest = kept.newest()
    assert newest is not None
    kept.save(1, newest[0], {**newest[1], "seconds": 1e6})
    fitted = quick(build(few_digits), few_digits, checkpoint=kept.folder, budget_s=1e6)
    assert fitted.epochs == 4


def test_timing_changes_nothing(few_digits: ImageData, trained: Trained) -> None:
    network = restored(few_digits, trained)
    times = time_network(network, few_digits, RECIPE)
    assert times.step_s > 0
    assert times.evaluation_s > 0
    assert is_as_before(network, trained)
    assert not network.training


def test_a_small_network_is_timed_on_small_images(digits: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is when it is trained, though the data is that of the largest."""
    seen: set[tuple[int, ...]] = set()
    forward = Network.forward

    def noting(self: Network, x: Tensor) -> Tensor:
        seen.add(tuple(x.shape[1:]))
        return forward(self, x)

    network = build(digits)
    monkeypatch.setattr(Network, "forward", noting)
    time_network(network, load_data("digits", 16, 0), RECIPE)
    assert seen == {(1, 8, 8)}


def test_weights_are_averaged_over_a_tenth_of_a_short_training() -> None:
    """A mean over 500 steps would be one over all of it."""
    assert fit_average(TrainRecipe(ema_decay=0.998), 100).ema_decay == pytest.approx(0.9)
    assert fit_average(TrainRecipe(ema_decay=0.998), 10**6).ema_decay == 0.998
    assert fit_average(TrainRecipe(ema_decay=0), 100).ema_decay == 0
    assert fit_average(TrainRecipe(), 1).ema_decay == 0


class Scaling(nn.Module):
    """Logits that are known, times the images."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        return self.logits * images


def test_a_temperature_softens_both_sides() -> None:
    probabilities = torch.tensor([[0.9, 0.1, 0.0]])
    assert torch.equal(softened(probabilities, 1.0), probabilities)
    soft = softened(probabilities, 2.0)
    torch.testing.assert_close(soft[0, 0] / soft[0, 1], torch.tensor(3.0))  # the root of 9
    logits = torch.tensor([[2.0, 0.0, -1.0]], requires_grad=True)
    recipe = TrainRecipe(distill_weight=1.0, finetune_temperature=2.0)
    label = torch.tensor([[1.0, 0.0, 0.0]])
    loss = plain_step(recipe)(Scaling(logits), torch.ones(1), torch.stack([label, probabilities], dim=1), Moment(0, 0.0))
    wanted = -4 * (soft * torch.log_softmax(logits.detach() / 2, dim=1)).sum()
    assert loss == pytest.approx(float(wanted))


def test_no_teacher_is_asked_where_the_recipe_wants_none(few_digits: ImageData) -> None:
    asked: list[int] = []

    def ask() -> Tensor:
        asked.append(1)
        return torch.full((len(few_digits.train), 10), 0.1)

    quick(build(few_digits), few_digits, ask, recipe=RECIPE.model_copy(update={"distill_weight": 0.0}), epochs=1)
    quick(build(few_digits), few_digits, ask, epochs=0)
    assert not asked
    quick(build(few_digits), few_digits, ask, epochs=1)
    assert asked == [1]


def test_the_time_that_a_teacher_takes_is_part_of_the_budget(few_digits: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []

    def trained(*_: object, budget_s: float, **options: object) -> None:
        given.append(budget_s)
        raise StoppedError(str(options))

    def slow() -> Tensor:
        time.sleep(0.2)
        return torch.full((len(few_digits.train), 10), 0.1)

    monkeypatch.setattr(finetune, "train", trained)
    for budget_s in (100.0, 0.1):
        with pytest.raises(StoppedError):
            quick(build(few_digits), few_digits, slow, budget_s=budget_s)
    assert given[0] <= 99.8
    assert given[1] == finetune.LEAST_S


def test_what_fine_tuning_alone_uses_is_no_part_of_a_supernets_key() -> None:
    defaults = TrainRecipe()
    assert set(defaults.model_dump(exclude=set(FINETUNING))) == set(TrainRecipe.model_fields) - set(FINETUNING)
    assert {"finetune_distill_weight", "finetune_epochs", "finetune_lr", "finetune_temperature"} == set(FINETUNING)
