"""Channels leave together, those that matter least first; what stays computes what it did."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from nas.architecture import BlockSpec
from nas.channels import Groups
from nas.compress.prune import LatencyOf, importance, prune_to_latency, remove_channels, scale_to_latency
from nas.cost import count
from nas.errors import InfeasibleError, InputError
from nas.hardware.profile import load_profile
from nas.models.network import Network, recalibrate
from tests.spaces import rich_space, shipped

Way = Callable[..., Network]


@pytest.fixture(scope="module")
def latency_s() -> LatencyOf:
    profile = load_profile("raspberrypi4")
    predictor = profile.predictor(profile.target())
    return lambda blocks: predictor.predict(blocks).value


def made(blocks: tuple[BlockSpec, ...]) -> Network:
    torch.manual_seed(0)
    network = Network(blocks)
    for parameter in network.parameters():
        if parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.3)
    first = blocks[0]
    recalibrate(network, [torch.randn(16, first.in_chs, first.in_size, first.in_size)])
    return network


@pytest.fixture(scope="module")
def tiny() -> Network:
    space = shipped("mobilenet_tiny")
    return made(space.decode(space.largest))


def batches(network: Network, count: int = 2) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    first = network.blocks[0]
    shape = (8, first.in_chs, first.in_size, first.in_size)
    return [(torch.randn(shape, generator=generator), torch.randint(10, (8,), generator=generator)) for _ in range(count)]


def test_channels_that_are_always_zero_can_go() -> None:
    """Squeeze-excite and hardswish too; blocks without an expansion share their input's channels."""
    space = rich_space()
    ops = {name: ("k3_e1" if str(name).endswith("op") else value) for name, value in space.largest.genes}
    network = made(space.decode(space.canonical(ops)))
    groups = Groups.of(network.blocks)
    kept = {name: np.arange(2, size) for name, size in groups.sizes.items()}
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight[:2] = module.bias[:2] = 0
    smaller = remove_channels(network, kept)
    images = batches(network)[0][0]
    with torch.no_grad():
        torch.testing.assert_close(smaller(images), network(images), atol=1e-4, rtol=1e-3)
    assert all(block.out_chs == before.out_chs - 2 for block, before in zip(smaller.blocks[:3], network.blocks[:3], strict=True))
    scores = importance(network, batches(network))
    assert all((values[:2] == 0).all() and values[2:].max() > 0 for values in scores.values())


@pytest.mark.parametrize("way", [prune_to_latency, scale_to_latency])
def test_it_becomes_as_fast_as_asked(way: Way, tiny: Network, latency_s: LatencyOf) -> None:
    before = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
    smaller = way(tiny, batches(tiny), latency_s, 0.8)
    assert 0.7 < latency_s(smaller.blocks) / latency_s(tiny.blocks) <= 0.8
    assert all(size % 8 == 0 for size in Groups.of(smaller.blocks).sizes.values())
    assert count(smaller.blocks).params == sum(parameter.numel() for parameter in smaller.parameters())
    assert (smaller.blocks[0].in_chs, smaller.blocks[-1].out_chs) == (1, 10)
    assert all(torch.equal(before[name], tensor) for name, tensor in tiny.state_dict().items())


@pytest.mark.parametrize("way", [prune_to_latency, scale_to_latency])
def test_the_same_network_is_pruned_the_same(way: Way, tiny: Network, latency_s: LatencyOf) -> None:
    one, two = (way(tiny, batches(tiny), latency_s, 0.8) for _ in range(2))
    assert one.blocks == two.blocks
    assert all(torch.equal(tensor, two.state_dict()[name]) for name, tensor in one.state_dict().items())


def with_dead(network: Network, name: str, share: float) -> Network:
    """A copy in which the first channels of an expansion are always zero."""
    made = copy.deepcopy(network)
    norm = made.body.get_submodule(name.replace(".", "_")).get_submodule("bn2")
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        dead = int(share * len(norm.weight))
        norm.weight[:dead] = norm.bias[:dead] = 0
    return made


def test_what_does_nothing_goes_first(tiny: Network, latency_s: LatencyOf) -> None:
    for name in ("s1.b2", "s3.b2"):
        smaller = prune_to_latency(with_dead(tiny, name, 0.5), batches(tiny), latency_s, 0.97)
        assert Groups.of(tiny.blocks).narrowed(smaller.blocks).keys() == {f"{name}.mid"}


def test_a_residual_block_that_does_nothing_leaves_as_a_whole(tiny: Network, latency_s: LatencyOf) -> None:
    idle = with_dead(tiny, "s2.b3", 1)
    smaller = prune_to_latency(idle, batches(tiny), latency_s, 0.96)
    assert [block.name for block in smaller.blocks] == [block.name for block in tiny.blocks if block.name != "s2.b3"]
    assert Groups.of(tiny.blocks).narrowed(smaller.blocks) == {"s2.b3.mid": 0}


def test_what_cannot_be_done_is_said(tiny: Network, latency_s: LatencyOf) -> None:
    for way in (prune_to_latency, scale_to_latency):
        with pytest.raises(InputError, match=r"between 0 and 1, got 1\.5"):
            way(tiny, batches(tiny), latency_s, 1.5)
        with pytest.raises(InfeasibleError, match=r"1 % of the latency were asked for.*: ask for \d+ % or more") as refused:
            way(tiny, batches(tiny), latency_s, 0.01)
        reached_s, whole_s = refused.value.tightest["latency_s"], latency_s(tiny.blocks)
        assert f"reaches {1e3 * reached_s:.3g} of {1e3 * whole_s:.3g} ms" in str(refused.value)
        assert f"{0.01 * 1e3 * whole_s:.3g} ms" in str(refused.value)  # not the budget of the round in which it failed
    with pytest.raises(InputError, match="there are none"):
        importance(tiny, [])


def test_a_pruned_network_is_blocks_like_any_other(tiny: Network, latency_s: LatencyOf) -> None:
    smaller = prune_to_latency(tiny, batches(tiny), latency_s, 0.75)
    again = Network(tuple(BlockSpec.from_dict(block.to_dict()) for block in smaller.blocks))
    again.load_state_dict(smaller.state_dict())
    assert smaller.blocks == Groups.of(tiny.blocks).resized(tiny.blocks, Groups.of(tiny.blocks).narrowed(smaller.blocks))
