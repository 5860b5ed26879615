"""Zeros without structure: as many as asked for, and training leaves them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from nas.compress.sparse import sparse_copy, sparsity
from nas.config import TrainRecipe
from nas.errors import InputError
from nas.models.network import Network
from nas.training.batches import Batches
from nas.training.data import load_data
from nas.training.finetune import plain_step
from nas.training.loop import train
from tests.spaces import rich_space


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def network() -> Network:
    space = rich_space()
    torch.manual_seed(0)
    return Network(space.decode(space.smallest)).eval()


def test_the_smallest_weights_of_each_layer_are_zero_and_the_network_given_is_not_changed() -> None:
    whole = network()
    made = sparse_copy(whole, 0.5)
    assert sparsity(made) == pytest.approx(0.5, abs=0.02)
    assert sparsity(whole) < 0.01
    for own, old in zip(made.state_dict().values(), whole.state_dict().values(), strict=True):
        kept = own != 0
        assert torch.equal(own[kept], old[kept])
        if own.dim() == 4 and not kept.all():
            assert float(old[kept].abs().min()) >= float(old[~kept].abs().max())


@pytest.mark.usefixtures("two_threads")
def test_training_leaves_zeros_zero_in_a_batch_that_two_threads_share() -> None:
    data, made = load_data("digits", 8, 0), sparse_copy(network(), 0.75)
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    recipe = TrainRecipe(batch_size=128, flip=False)
    train(made.train(), plain_step(recipe), Batches.of(data, recipe, 0), recipe, epochs=1, lr=0.1)
    assert sparsity(made) == pytest.approx(0.75, abs=0.02)
    assert any(not torch.equal(tensor, before[name]) for name, tensor in made.state_dict().items() if name.endswith("weight"))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(InputError, match=r"between 0 and 1, got"):
        sparse_copy(network(), share)
