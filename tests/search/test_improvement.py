"""Expected hypervolume improvement against its definition: the mean gain over draws of the uncertain loss."""

from __future__ import annotations

import numpy as np
import pytest

from nas.search import improvement, pareto
from nas.search.improvement import Front, shortfall


@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_it_is_the_mean_gain_of_hypervolume(k: int) -> None:
    rng = np.random.default_rng(k)
    losses, costs = rng.random(7), rng.random((7, k))
    reference = np.full(1 + k, 0.95)
    mean, std, at = rng.random(5), 0.1 + 0.2 * rng.random(5), rng.random((5, k))
    front = Front(losses, costs, reference)
    found = front.gain(shortfall(front.levels, mean, std), at)
    points = np.column_stack([losses, costs])
    before = pareto.hypervolume(points, list(reference))
    # Stratified normal draws: the mean of a function of one variable to three digits.
    from scipy.special import ndtri

    draws = ndtri((np.arange(2000) + 0.5) / 2000)
    for each in range(5):
        gains = [
            pareto.hypervolume(np.vstack([points, [mean[each] + std[each] * z, *at[each]]]), list(reference)) - before for z in draws[::4]
        ]
        assert found[each] == pytest.approx(np.mean(gains), rel=0.02, abs=1e-3)


def test_what_is_beyond_the_reference_gains_nothing() -> None:
    front = Front(np.array([0.5]), np.array([[0.5]]), np.array([1.0, 1.0]))
    sure = np.array([1e-9])
    for loss, cost in ((0.2, 1.1), (1.2, 0.2), (0.6, 0.6)):
        assert front.gain(shortfall(front.levels, np.array([loss]), sure), np.array([[cost]]))[0] == pytest.approx(0, abs=1e-8)
    assert front.gain(shortfall(front.levels, np.array([0.25]), sure), np.array([[0.25]]))[0] == pytest.approx(0.75**2 - 0.25)


def test_a_front_too_large_for_the_grid_is_nearly_as_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = np.sort(rng.random(200))
    losses, costs = (1 - x) ** 2, x[:, None]
    at, mean, std = rng.random((20, 1)), rng.random(20) * 0.5, np.full(20, 0.1)
    exact = Front(losses, costs, np.ones(2))
    monkeypatch.setattr(improvement, "CELLS", 64)
    coarse = Front(losses, costs, np.ones(2))
    whole, part = (front.gain(shortfall(front.levels, mean, std), at) for front in (exact, coarse))
    assert len(coarse.levels) < 70 < len(exact.levels)
    assert part == pytest.approx(whole, rel=0.1, abs=0.01)
