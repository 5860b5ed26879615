"""Weights without structure: the smallest of each layer become zero and stay it. Runtimes multiply by zeros as by other numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor, nn

from nas.errors import InputError
from nas.models.network import Network

__all__ = ["sparse_copy", "sparsity"]


def sparse_copy(network: Network, share: float) -> Network:
    """A copy in which that share of the weights of every convolution and linear layer, the smallest in magnitude (Han et al. 2015,
    arXiv:1506.02626), is zero; training leaves them zero.

    Raises:
        InputError: a share that is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise InputError(f"a share of the weights is between 0 and 1, got {share:g}")
    made = copy.deepcopy(network)
    for layer in made.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            weight = layer.weight
            count = int(share * weight.numel())
            if count:
                mask = (weight.detach().abs() > weight.detach().abs().flatten().kthvalue(count).values).float()
                weight.data.mul_(mask)
                weight.register_hook(_masked(mask))  # type: ignore[no-untyped-call] # a zero without a gradient stays one, momentum and decay included
    return made


def _masked(mask: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda gradient: gradient * mask


def sparsity(network: Network) -> float:
    """Share of zeros among the weights of convolutions and linear layers."""
    weights = [layer.weight for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)
