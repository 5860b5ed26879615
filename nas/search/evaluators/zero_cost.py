"""A score of untrained networks: to begin a search with, and the baseline that an accuracy signal has to beat. Never an accuracy."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from nas.architecture import Architecture
from nas.cost import count
from nas.errors import DataError, TrainingError
from nas.metrics import Metric
from nas.models.blocks import ACTIVATION_MODULES
from nas.models.network import Network
from nas.search.evaluators.base import Evaluation, EvaluatorContext
from nas.search.evaluators.from_scratch import fresh_network
from nas.training.batches import normalise
from nas.training.oneshot import fit_size

__all__ = ["ZeroCostEvaluator", "naswot"]

IMAGES = 128
"""Of a minibatch, as in the paper."""
DRAWS = 3
"""Initialisations that the score is averaged over; their spread gives its standard error."""


class ZeroCostEvaluator:
    """NASWOT and the number of parameters."""

    gives = "naswot"
    needs: frozenset[str] = frozenset()

    def __init__(self, context: EvaluatorContext) -> None:
        if context.threads is not None:
            torch.set_num_threads(context.threads)
        self._space, self._seed = context.space, context.data_seed
        data = context.images(context.space.resolutions[-1])
        drawn = np.random.default_rng(self._seed).permutation(len(data.train))[: 2 * IMAGES]
        images = np.unique(data.train.images[np.sort(drawn)], axis=0)[:IMAGES]  # two equal ones would make the score minus infinity
        if len(images) < 2:
            raise DataError(f"the evaluator zero-cost needs at least 2 different training images, {data.name} has {len(images)}")
        self._images = normalise(images, data.mean, data.std)

    def evaluate(self, archs: Sequence[Architecture]) -> list[Evaluation]:
        """See `Evaluator.evaluate`; source `modelled`."""
        found = []
        for arch in archs:
            started = time.perf_counter()
            blocks = self._space.decode(arch)
            images = fit_size(self._images, blocks[0].in_size)
            scores = [naswot(fresh_network(blocks, self._seed * DRAWS + draw), images) for draw in range(DRAWS)]
            error = statistics.stdev(scores) / math.sqrt(DRAWS)
            params = count(blocks).metrics()["params"]
            metrics = {"naswot": Metric(statistics.fmean(scores), "1", "modelled", std=error), "params": params}
            found.append(Evaluation(metrics, time.perf_counter() - started))
        return found


def naswot(network: Network, images: Tensor) -> float:
    """Logarithm of the determinant of the kernel K of an untrained network: how differently it treats the images of a minibatch.

    K[i, j] counts the activation units, over all layers, that are on for both images i and j or off for both (Mellor et al. 2021,
    arXiv:2006.04647, equation 2 and section 3). Activations other than ReLU are on where their input is positive.

    Args:
        images: (n, chs, size, size).

    Raises:
        TrainingError: two images have the same code in all layers.
    """
    kernel = torch.zeros(len(images), len(images), dtype=torch.float64)

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG001
        on = (inputs[0] > 0).reshape(len(images), -1).float()
        same = on @ on.T + (1 - on) @ (1 - on).T
        kernel.add_(same.double())

    kinds = tuple(kind for name, kind in ACTIVATION_MODULES.items() if name not in ("none", "sigmoid", "hardsigmoid"))
    hooks = [module.register_forward_hook(add) for module in network.modules() if isinstance(module, kinds)]
    try:
        with torch.no_grad():
            network.train()(images)
    finally:
        for hook in hooks:
            hook.remove()
    sign, logarithm = torch.linalg.slogdet(kernel)
    if sign <= 0 or not math.isfinite(float(logarithm)):
        raise TrainingError("two images look the same to the untrained network in all its layers: it has no score")
    return float(logarithm)
