"""NASWOT as its paper defines it, on networks of ours."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.architecture import Architecture
from nas.cost import count
from nas.errors import TrainingError
from nas.search.evaluators import Evaluator, EvaluatorContext, open_evaluator
from nas.search.evaluators.from_scratch import fresh_network
from nas.search.evaluators.zero_cost import naswot
from nas.testing import EvaluatorContract
from tests.spaces import make_space

SPACE = make_space()


class TestZeroCostEvaluator(EvaluatorContract):
    @pytest.fixture
    def evaluator(self, context: EvaluatorContext) -> Evaluator:
        return open_evaluator("zero-cost", context)

    @pytest.fixture
    def archs(self, context: EvaluatorContext) -> list[Architecture]:
        return [context.space.smallest, context.space.largest, context.space.sample(1)]


def test_the_score_is_that_of_the_paper() -> None:
    """K[i, j] = units - Hamming distance of the codes of i and j, computed here image by image from the activations' inputs."""
    network, images = fresh_network(SPACE.decode(SPACE.largest), 0), torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    codes: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda _, inputs, __: codes.append((inputs[0] > 0).flatten(1)))
    with torch.no_grad():
        network.train()(images)
    whole = torch.cat(codes, dim=1).numpy()
    distance = (whole[:, None] != whole[None]).sum(axis=2)
    expected = np.linalg.slogdet((whole.shape[1] - distance).astype(float))[1]
    assert naswot(fresh_network(SPACE.decode(SPACE.largest), 0), images) == pytest.approx(expected, rel=1e-9)


def test_two_equal_images_have_no_score() -> None:
    image = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with pytest.raises(TrainingError, match="look the same"):
        naswot(fresh_network(SPACE.decode(SPACE.smallest), 0), image.repeat(3, 1, 1, 1))


def test_it_counts_parameters_and_never_claims_accuracy(context: EvaluatorContext) -> None:
    arch = context.space.largest
    found = open_evaluator("zero-cost", context).evaluate([arch])[0]
    assert found.metrics["params"].value == count(context.space.decode(arch)).params
    assert set(found.metrics) == {"naswot", "params"}
    assert found.metrics["naswot"].source == "modelled"
    assert math.isfinite(found.metrics["naswot"].value)
    assert found.seconds < 60
