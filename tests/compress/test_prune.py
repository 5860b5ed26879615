"""Channels leave together, those that matter least first; what stays computes what it did."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from nas.architecture import BlockSpec
from nas.compress.prune import Groups, importance, prune_to_latency, remove_channels, scale_to_latency
from nas.cost import count
from nas.errors import InfeasibleError, InputError
from nas.hardware.predictor import LatencyPredictor
from nas.hardware.profile import load_profile
from nas.models.network import Network, recalibrate
from tests.spaces import rich_space, shipped


@pytest.fixture(scope="module")
def predictor() -> LatencyPredictor:
    profile = load_profile("raspberrypi4")
    return profile.predictor(profile.target())


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


def test_residuals_tie_a_stage_together(tiny: Network) -> None:
    groups = Groups.of(tiny.blocks)
    stage = [block for block in tiny.blocks if block.name.startswith("s2.")]
    assert {groups.outs[block.name] for block in stage} == {"s2.b1.out"}
    assert [groups.ins[block.name] for block in stage] == ["s1.b1.out", "s2.b1.out", "s2.b1.out"]
    assert {groups.mids[block.name] for block in stage} == {f"{block.name}.mid" for block in stage}
    assert groups.ins["stem"] not in groups.sizes
    assert groups.outs["classifier"] not in groups.sizes
    assert groups.resized(tiny.blocks, groups.sizes) == tiny.blocks


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
def test_it_becomes_as_fast_as_asked(way: object, tiny: Network, predictor: LatencyPredictor) -> None:
    before = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
    smaller: Network = way(tiny, importance(tiny, batches(tiny)), predictor, 0.8)  # type: ignore[operator]
    latency_s, whole_s = (predictor.predict(network.blocks).value for network in (smaller, tiny))
    assert 0.7 * whole_s < latency_s <= 0.8 * whole_s
    assert all(size % 8 == 0 for size in Groups.of(smaller.blocks).sizes.values())
    assert count(smaller.blocks).params == sum(parameter.numel() for parameter in smaller.parameters())
    assert (smaller.blocks[0].in_chs, smaller.blocks[-1].out_chs) == (1, 10)
    assert all(torch.equal(before[name], tensor) for name, tensor in tiny.state_dict().items())


def test_what_matters_stays(tiny: Network, predictor: LatencyPredictor) -> None:
    scores = dict(importance(tiny, batches(tiny)))
    name = "s3.b1.mid"
    scores[name] = np.full_like(scores[name], 1e9)
    smaller = prune_to_latency(tiny, scores, predictor, 0.7)
    assert Groups.of(smaller.blocks).sizes[name] == Groups.of(tiny.blocks).sizes[name]


def test_channels_of_grouped_convolutions_stay() -> None:
    space = rich_space()
    blocks = space.decode(space.canonical({**dict(space.largest.genes), "s2.b2.op": "k3_e2_g2"}))
    groups = Groups.of(blocks)
    grouped = next(block for block in blocks if block.groups > 1)
    assert not {groups.ins[grouped.name], groups.mids[grouped.name], groups.outs[grouped.name]} & set(groups.sizes)


def test_what_cannot_be_done_is_said(tiny: Network, predictor: LatencyPredictor) -> None:
    scores = importance(tiny, batches(tiny))
    with pytest.raises(InputError, match=r"between 0 and 1, got 1\.5"):
        prune_to_latency(tiny, scores, predictor, 1.5)
    for way in (prune_to_latency, scale_to_latency):
        with pytest.raises(InfeasibleError, match="choose a smaller candidate"):
            way(tiny, scores, predictor, 0.01)
    with pytest.raises(InputError, match="there are none"):
        importance(tiny, [])


def test_a_pruned_network_is_blocks_like_any_other(tiny: Network, predictor: LatencyPredictor) -> None:
    smaller = prune_to_latency(tiny, importance(tiny, batches(tiny)), predictor, 0.75)
    again = Network(tuple(BlockSpec.from_dict(block.to_dict()) for block in smaller.blocks))
    again.load_state_dict(smaller.state_dict())
    assert dataclasses.asdict(smaller.blocks[1]) != dataclasses.asdict(tiny.blocks[1]) or smaller.blocks != tiny.blocks
