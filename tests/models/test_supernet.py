"""The weight-sharing network against networks that stand alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from nas.architecture import BlockSpec
from nas.errors import SpaceError
from nas.models.network import Network
from nas.models.supernet import Supernet
from nas.space import SearchSpace, space_names
from tests.spaces import ELASTIC, make_space, rich_space, shipped

every_space = pytest.mark.parametrize("space", [pytest.param(shipped(name), id=name) for name in space_names()] + [rich_space()])


def build(space: SearchSpace) -> Supernet:
    """A supernet whose batch norm is nowhere one and zero, so that a wrong slice shows."""
    torch.manual_seed(0)
    supernet = Supernet(space.blocks)
    for layer in supernet.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                assert isinstance(tensor, Tensor)
                nn.init.uniform_(tensor, 0.5, 1.5)
    return supernet


def some_images(space: SearchSpace, count: int = 2, size: int = 16) -> Tensor:
    """Small ones: the weights of a network do not depend on the resolution."""
    return torch.randn(count, space.in_chs, size, size, generator=torch.Generator().manual_seed(1))


@every_space
def test_in_eval_mode_it_is_the_network_that_is_extracted(space: SearchSpace) -> None:
    supernet = build(space).eval()
    images = some_images(space)
    for arch in (space.smallest, space.largest, *(space.sample(seed) for seed in range(4))):
        blocks = space.decode(arch)
        network = supernet.extract(blocks)
        assert not network.training
        with torch.no_grad():
            assert torch.equal(supernet(images, blocks), network(images))
        # A copy: what is done to it does not reach the supernet.
        assert not {p.data_ptr() for p in network.parameters()} & {p.data_ptr() for p in supernet.parameters()}


def test_a_network_may_be_extracted_in_any_mode() -> None:
    space = rich_space()
    supernet = build(space)
    blocks = space.decode(space.sample(0))
    training, evaluating = supernet.train().extract(blocks), supernet.eval().extract(blocks)
    states = zip(training.state_dict().items(), evaluating.state_dict().items(), strict=True)
    assert all(name == other and torch.equal(one, two) for (name, one), (other, two) in states)


def sliced(supernet: Supernet, blocks: Sequence[BlockSpec], network: Network) -> dict[str, tuple[Tensor, Tensor]]:
    """By the name of the shared parameter: which of its elements a network uses, and the network's own parameter."""
    found = {}
    for block, module in zip(blocks, network.body, strict=True):
        for name, own in module.named_parameters():
            key = f"shared.{block.name.replace('.', '_')}-{block.kind}.{name}"
            mask = torch.zeros_like(supernet.get_parameter(key), dtype=torch.bool)
            start = [(have - need) // 2 if axis > 1 else 0 for axis, (have, need) in enumerate(zip(mask.shape, own.shape, strict=True))]
            mask[tuple(slice(at, at + need) for at, need in zip(start, own.shape, strict=True))] = True
            found[key] = mask, own
    return found


@every_space
def test_gradients_reach_exactly_what_the_network_uses(space: SearchSpace) -> None:
    supernet = build(space).train()
    blocks = space.decode(space.sample(7))
    network = supernet.extract(blocks).train()
    images = some_images(space, count=4)
    weights = torch.linspace(-1, 1, 4 * space.num_classes).view(4, -1)
    (supernet(images, blocks) * weights).sum().backward()
    (network(images) * weights).sum().backward()
    used = sliced(supernet, blocks, network)
    for key, shared in supernet.named_parameters():
        if key not in used:
            assert shared.grad is None, key
            continue
        mask, own = used[key]
        assert shared.grad is not None
        assert own.grad is not None
        torch.testing.assert_close(shared.grad[mask].view(own.shape), own.grad)
        assert not shared.grad[~mask].any(), key


@every_space
def test_training_changes_no_buffer(space: SearchSpace) -> None:
    supernet = build(space).train()
    before = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
    images = some_images(space)
    for seed in range(2):
        blocks = space.decode(space.sample(seed))
        supernet(images, blocks).sum().backward()
    after = dict(supernet.named_buffers())
    assert after.keys() == before.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_its_state_is_its_weights_alone() -> None:
    space = rich_space()
    supernet = build(space)
    names = set(supernet.state_dict())
    for training in (True, False):
        supernet.train(training)(some_images(space), space.decode(space.sample(0)))
    assert set(supernet.state_dict()) == names
    again = Supernet(space.blocks)
    again.load_state_dict(supernet.state_dict())
    blocks = space.decode(space.sample(3))
    assert torch.equal(again.eval()(some_images(space), blocks), supernet.eval()(some_images(space), blocks))


@pytest.mark.parametrize("training", [True, False])
def test_blocks_of_another_space_are_refused(training: bool) -> None:
    space = make_space()
    supernet = build(space).train(training)
    wider = make_space(stages=[{"out_chs": 16, "depth": [1, 2], "kernel_size": [3, 5], "stride": 2}])
    longer = make_space(stages=[{"out_chs": 8, "depth": [1, 2, 3], "expand_ratio": 2}])
    with pytest.raises(SpaceError, match=r"tensor of shape .* is too small for .*built for another space"):
        supernet(some_images(space), wider.decode(wider.largest))
    with pytest.raises(SpaceError, match=r"no mbconv at 's1.b3': it was built for another space"):
        supernet.extract(longer.decode(longer.largest))
    attentive = make_space(stages=[{**ELASTIC, "se": True}])
    for call in (lambda blocks: supernet(some_images(space), blocks), supernet.extract):
        with pytest.raises(SpaceError, match=r"has no se\.conv_reduce\.weight at 's1.b1': it was built for another space"):
            call(attentive.decode(attentive.smallest))
