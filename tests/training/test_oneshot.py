"""Training of the supernet: the sandwich step against plain loops, and trainings that repeat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nas.config import TrainRecipe
from nas.errors import ModelFileError, StoppedError, TrainingError
from nas.models.supernet import Supernet
from nas.models.weights import save_weights
from nas.training.batches import tensors
from nas.training.data import ImageData
from nas.training.oneshot import (
    EpochReport,
    accuracies,
    build_supernet,
    fit_size,
    load_supernet,
    sandwich_step,
    soft_cross_entropy,
    time_step,
    train_supernet,
)
from nas.training.replicas import Moment, Replicas
from nas.training.reuse import SupernetJob
from tests.spaces import make_space, rich_space

SPACE = rich_space()
RECIPE = TrainRecipe(epochs=2, batch_size=32, lr=0.1, flip=False)


def same(one: Supernet, other: Supernet) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 5), st.integers(2, 8), st.integers(0, 99))
def test_soft_cross_entropy_is_that_of_torch(count: int, classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, teacher = torch.randn(2, count, classes, generator=generator)
    assert soft_cross_entropy(logits, teacher.softmax(1)).item() == pytest.approx(
        F.cross_entropy(logits, teacher.softmax(1)).item(), rel=1e-5
    )


def test_images_are_resized_where_they_must_be() -> None:
    images = torch.rand(2, 1, 8, 8)
    assert fit_size(images, 8) is images
    assert fit_size(images, 12).shape == (2, 1, 12, 12)
    grey = fit_size(torch.full((1, 1, 8, 8), 0.3), 5)
    torch.testing.assert_close(grey, torch.full((1, 1, 5, 5), 0.3))


def test_a_sandwich_step_is_what_its_rule_says(digits: ImageData) -> None:
    """The largest learns from labels, all others from labels and the largest's outputs, which pass no gradient back."""
    supernet = build_supernet(SPACE, 0).train()
    images, labels = next(iter(tensors(digits.train, digits.mean, digits.std, 16)))
    recipe = RECIPE.model_copy(update={"distill_weight": 0.6, "label_smoothing": 0.1})
    networks = [SPACE.decode(arch) for arch in (SPACE.largest, SPACE.smallest, SPACE.sample(0), SPACE.sample(1))]
    assert len({blocks[0].in_size for blocks in networks}) == 2
    found = sandwich_step(supernet, networks, images, labels, recipe)
    gradients = {name: parameter.grad.clone() for name, parameter in supernet.named_parameters() if parameter.grad is not None}
    supernet.zero_grad()

    def logits(number: int) -> Tensor:
        size = networks[number][0].in_size
        resized = images if size == 8 else F.interpolate(images, (size, size), mode="bilinear", antialias=True)
        out: Tensor = supernet(resized, networks[number])
        return out

    one_hot = F.one_hot(labels, 10).float() * 0.9 + 0.1 / 10
    largest = logits(0)
    loss = -(one_hot * largest.log_softmax(1)).sum(1).mean()
    assert found.item() == pytest.approx(loss.item(), rel=1e-5)
    for number in (1, 2, 3):
        log_probabilities = logits(number).log_softmax(1)
        hard = -(one_hot * log_probabilities).sum(1).mean()
        soft = -(largest.detach().softmax(1) * log_probabilities).sum(1).mean()
        loss = loss + 0.4 * hard + 0.6 * soft
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in supernet.named_parameters():
        if parameter.grad is None:
            assert name not in gradients
        else:
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-5)


def test_the_seed_decides_the_weights_and_nothing_else_is_touched() -> None:
    state = torch.random.get_rng_state()
    one, again, other = (build_supernet(SPACE, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert same(one, again)
    assert not same(one, other)


def test_keys_differ_where_trainings_do(digits: ImageData, few_digits: ImageData) -> None:
    def key(space: Any = SPACE, data: ImageData = digits, seed: int = 0, budget_s: float | None = None, **changes: Any) -> str:
        return SupernetJob(space, data, RECIPE.model_copy(update=changes), seed, Path("cache"), budget_s).home().name

    assert key() == key(space=rich_space())
    # What finalists do with the weights does not change them.
    assert key(finetune_epochs=99, finetune_lr=1.0) == key()
    others = [key(space=make_space()), key(seed=1), key(budget_s=60.0), key(lr=0.01), key(epochs=3), key(augment=False)]
    assert len({key(), *others}) == 7
    assert len(key()) == 16
    assert key(budget_s=60.0) == f"{key()}-60s"


def train(supernet: Supernet, data: ImageData, seed: int = 0, **options: Any) -> Any:
    return train_supernet(supernet, SPACE, data, RECIPE, seed, **options)


def test_a_stopped_training_goes_on_exactly(few_digits: ImageData, tmp_path: Path) -> None:
    whole = build_supernet(SPACE, 0)
    result = train(whole, few_digits)
    assert (result.steps, result.epochs) == (8, 2)
    assert result.loss < 2.4
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 3

    checkpoint = tmp_path / "checkpoints"
    with pytest.raises(StoppedError, match="epoch 1 of 2"):
        train(build_supernet(SPACE, 0), few_digits, checkpoint=checkpoint, stop=stop)
    # Resumed from the file alone: another seed for the weights does not matter.
    resumed = build_supernet(SPACE, 5)
    assert train(resumed, few_digits, checkpoint=checkpoint).steps == 8
    assert same(resumed, whole)
    assert not same(resumed, build_supernet(SPACE, 0))


def curve(losses: list[float]) -> Any:
    """Notes the loss of each step."""
    return lambda progress: losses.append(progress.loss)


def test_the_loss_curve_is_that_of_an_undisturbed_training(few_digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.training.loop.REPORT_STEPS", 1)
    whole, parts = [], []
    train(build_supernet(SPACE, 0), few_digits, on_progress=curve(whole))
    for stop_after in (3, 2):
        asked = iter([False] * (stop_after - 1) + [True])
        with pytest.raises(StoppedError):
            train(build_supernet(SPACE, 0), few_digits, checkpoint=tmp_path / "c", on_progress=curve(parts), stop=lambda: next(asked))  # noqa: B023
    train(build_supernet(SPACE, 0), few_digits, checkpoint=tmp_path / "c", on_progress=curve(parts))
    assert len(whole) == 8
    assert parts == whole


def test_parts_of_a_batch_add_up(digits: ImageData) -> None:
    """A step in parts is the sum of steps over the parts, each with its own batch norm."""
    supernet = build_supernet(SPACE, 0).train()
    networks = [SPACE.decode(SPACE.largest), SPACE.decode(SPACE.smallest)]
    images, labels = next(iter(tensors(digits.train, digits.mean, digits.std, 25)))

    def gradients(step: Any) -> dict[str, Tensor]:
        supernet.zero_grad()
        step()
        return {name: p.grad.clone() for name, p in supernet.named_parameters() if p.grad is not None}

    def part(model: Any, *arguments: Any) -> Tensor:
        return sandwich_step(model, networks, *arguments[:2], RECIPE, arguments[2])

    def parts() -> None:
        with Replicas(supernet, RECIPE.model_copy(update={"micro_batch": 13}), len(images)) as replicas:
            replicas.step(part, images, labels, Moment(0, 1.0))

    found = gradients(parts)

    def plain() -> None:
        for rows in (slice(0, 13), slice(13, 25)):
            count = rows.stop - rows.start
            sandwich_step(supernet, networks, images[rows], labels[rows], RECIPE, Moment(0, 1.0, count / 25))

    expected = gradients(plain)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)


def test_branches_are_dropped_for_the_largest_only(few_digits: ImageData) -> None:
    space = make_space(stages=[{"out_chs": 8, "depth": [1, 4]}])
    supernet = build_supernet(space, 0).train()
    images, labels = next(iter(tensors(few_digits.train, few_digits.mean, few_digits.std, 64)))
    largest, smallest = space.decode(space.largest), space.decode(space.smallest)
    assert sum(block.residual for block in largest) >= 3

    def loss(blocks: Any, drop_path: float, number: int = 0) -> float:
        recipe = RECIPE.model_copy(update={"drop_path": drop_path})
        return sandwich_step(supernet, [blocks], images, labels, recipe, Moment(number, 1.0)).item()

    assert loss(largest, 0.5) == loss(largest, 0.5) != loss(largest, 0.0)
    assert loss(largest, 0.5, 1) != loss(largest, 0.5, 2)
    nothing_left = supernet(images, largest, [torch.zeros(64, 1, 1, 1) if block.residual else None for block in largest])
    shortcut = supernet(images, [block for block in largest if not block.residual])
    torch.testing.assert_close(nothing_left, shortcut)
    found = []
    for drop_path in (0.0, 0.5):
        supernet.zero_grad()
        keep_teacher = RECIPE.model_copy(update={"drop_path": drop_path, "distill_weight": 0.0})
        sandwich_step(supernet, [largest, smallest], images, labels, keep_teacher)
        everything = {name: p.grad.clone() for name, p in supernet.named_parameters() if p.grad is not None}
        supernet.zero_grad()
        sandwich_step(supernet, [largest], images, labels, keep_teacher)
        for name, parameter in supernet.named_parameters():
            if parameter.grad is not None:
                everything[name] -= parameter.grad
        found.append(everything)
    for name, gradient in found[0].items():  # what is left is the smallest's, with and without drops
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-3, atol=1e-4)


def test_images_grow_with_the_schedule(few_digits: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    supernet = build_supernet(SPACE, 0)
    supernet.register_forward_pre_hook(lambda _, arguments: sizes.append(arguments[0].shape[-1]))
    recipe = RECIPE.model_copy(update={"first_resolution": 0.5, "random_subnets": 0, "epochs": 10})
    train_supernet(supernet, SPACE, few_digits, recipe, 0)
    largest, smallest = sizes[::2], sizes[1::2]
    assert smallest[0] == 4
    assert largest[0] == 6
    assert smallest == sorted(smallest)
    assert largest == sorted(largest)
    assert smallest[-16:] == [8] * 16  # 40 steps, full size from 60 % on
    assert largest[-16:] == [12] * 16
    assert len(set(smallest)) == 5


def test_an_epoch_tells_how_good_the_averaged_weights_are(few_digits: ImageData) -> None:
    told: list[EpochReport] = []
    supernet = build_supernet(SPACE, 0)
    train(supernet, few_digits, on_epoch=told.append)
    assert [report.progress.epoch for report in told] == [1, 2]
    assert told[-1].images == 360
    assert told[-1].seconds > told[0].seconds > 0
    # After the last epoch these are the weights that the training ends with.
    assert accuracies(supernet, SPACE, few_digits, [SPACE.largest, SPACE.smallest]) == [told[-1].largest, told[-1].smallest]


def test_weights_of_a_file_are_loaded(tmp_path: Path) -> None:
    supernet = build_supernet(SPACE, 3)
    save_weights(tmp_path / "w.safetensors", {f"model.{name}": tensor for name, tensor in supernet.state_dict().items()}, {})
    assert same(load_supernet(SPACE, tmp_path / "w.safetensors"), supernet)
    with pytest.raises(ModelFileError, match="another space than tiny"):
        load_supernet(make_space(), tmp_path / "w.safetensors")


def test_a_want_of_memory_says_what_fits(few_digits: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    def starved(*_: object, **__: object) -> Tensor:
        return torch.empty(2**55)

    monkeypatch.setattr("nas.training.oneshot.sandwich_step", starved)
    with pytest.raises(TrainingError, match=r"out of memory with 32 images at once: try micro_batch=16 .* or batch_size=16 in the recipe"):
        train(build_supernet(SPACE, 0), few_digits)


def test_the_seed_decides_which_networks_are_trained(few_digits: ImageData) -> None:
    weights = [build_supernet(SPACE, 0) for _ in range(3)]
    for supernet, seed in zip(weights, (0, 0, 1), strict=True):
        train_supernet(supernet, SPACE, few_digits, RECIPE.model_copy(update={"epochs": 1}), seed)
    assert same(weights[0], weights[1])
    assert not same(weights[0], weights[2])


def test_timing_a_step_changes_nothing(few_digits: ImageData) -> None:
    supernet = build_supernet(SPACE, 0).eval()
    assert time_step(supernet, SPACE, few_digits, RECIPE, 0, torch.device("cpu")) > 0
    assert same(supernet, build_supernet(SPACE, 0))
    assert all(parameter.grad is None for parameter in supernet.parameters())
    assert not supernet.training
