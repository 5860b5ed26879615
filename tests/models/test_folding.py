"""The same network, with fewer passes over its activations."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nas.models.folding import fold_batch_norm
from nas.models.network import Network, recalibrate
from nas.space import SearchSpace
from tests.spaces import make_space, rich_space


def build(space: SearchSpace, seed: int) -> Network:
    """Random weights and random statistics."""
    torch.manual_seed(seed)
    network = Network(space.decode(space.sample(seed)))
    size = network.blocks[0].in_size
    recalibrate(network, [torch.randn(16, 1, size, size) for _ in range(2)])
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 2.0)
            nn.init.uniform_(layer.bias, -1.0, 1.0)
    return network


@pytest.mark.parametrize("act", ["relu", "relu6", "hardswish", "silu"])
@pytest.mark.parametrize("seed", range(3))
def test_logits_are_the_same(act: str, seed: int) -> None:
    """Squeeze-excite, groups with a shuffle, skips, residuals and a hidden linear layer among them."""
    stages = [{"out_chs": [8, 16], "depth": [1, 2], "kernel_size": [3, 5], "expand_ratio": [1, 2], "stride": 2, "se": True}]
    for space in (rich_space(), make_space(act=act, stages=stages)):
        network = build(space, seed)
        size = network.blocks[0].in_size
        images = torch.randn(8, 1, size, size)
        before = images.clone()
        with torch.no_grad():
            torch.testing.assert_close(fold_batch_norm(network)(images), network(images), rtol=1e-4, atol=1e-4)
        assert torch.equal(images, before)


def test_the_network_itself_stays_as_it_is() -> None:
    network = build(rich_space(), 1)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded = fold_batch_norm(network.train())
    assert not folded.training
    assert network.training
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert not any(getattr(module, "inplace", False) for module in network.modules())
