"""Rank correlations with their intervals."""

from __future__ import annotations

from functools import partial
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nas.bench.ranking import Groups, Interval, bootstrap, kendall, spearman, thirds, within

MEASURES = st.integers(3, 12).flatmap(
    lambda n: st.tuples(*(arrays(np.float64, n, elements=st.integers(0, 5).map(float)) for _ in range(2)))
)


def plain_tau_b(x: np.ndarray, y: np.ndarray) -> float:
    """By its definition, pair by pair."""
    pairs = [(np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in combinations(range(len(x)), 2)]
    different = [sum(each[n] != 0 for each in pairs) for n in range(2)]
    return float(sum(a * b for a, b in pairs) / np.sqrt(different[0] * different[1])) if all(different) else 0.0


@given(MEASURES)
def test_tau_is_that_of_the_definition_and_of_no_scale(measures: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = measures
    assert kendall(x, y) == pytest.approx(plain_tau_b(x, y))
    assert kendall(np.exp(x), 3 * y - 1) == pytest.approx(kendall(x, y))
    assert kendall(-x, y) == pytest.approx(-kendall(x, y))
    assert spearman(y, x) == pytest.approx(spearman(x, y))
    assert -1 <= spearman(x, y) <= 1 + 1e-12


def test_ties_are_no_agreement() -> None:
    x = np.array([1.0, 2, 2, 3])
    assert kendall(x, np.array([1.0, 2, 3, 4])) == pytest.approx(5 / np.sqrt(5 * 6))
    assert kendall(x, np.ones(4)) == spearman(np.ones(4), x) == 0


def test_measures_of_other_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="the same networks"):
        kendall(np.ones(3), np.ones(4))


@given(arrays(np.float64, st.integers(3, 40), elements=st.floats(0, 1e9)))
def test_thirds_are_ordered_and_hold_everyone_once(values: np.ndarray) -> None:
    split = thirds(values)
    assert sorted(np.concatenate(split)) == list(range(len(values)))
    assert max(map(len, split)) - min(map(len, split)) <= 1
    assert values[split[0]].max() <= values[split[1]].min()
    assert values[split[1]].max() <= values[split[2]].min()


def test_cost_that_only_tells_thirds_apart_is_worth_nothing_within_them() -> None:
    y = np.arange(30.0)
    x = np.floor(y / 10)
    assert kendall(x, y) > 0.8
    assert within(kendall, x, y, thirds(y)) == 0
    assert within(kendall, y, y, thirds(y)) == pytest.approx(1)


def test_an_interval_covers_what_it_estimates_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    # Of two normal measures with this correlation tau is 2/pi arcsin(r) (Kendall & Gibbons 1990, Rank Correlation Methods).
    r, hits, trials = 0.8, 0, 40
    truth = 2 / np.pi * np.arcsin(r)
    for trial in range(trials):
        x = rng.normal(size=33)
        y = r * x + np.sqrt(1 - r**2) * rng.normal(size=33)
        found = bootstrap(partial(within, kendall, x, y), [np.arange(33)], trial, 60)
        assert found.low <= found.value <= found.high
        hits += found.low <= truth <= found.high
    assert 0.7 * trials <= hits < trials


def test_intervals_are_repeatable_and_resample_within_groups() -> None:
    x, y = np.random.default_rng(1).normal(size=(2, 12))
    groups = thirds(x)

    def members_stay(drawn: Groups) -> float:
        assert [set(rows) <= set(group) and len(rows) == len(group) for rows, group in zip(drawn, groups, strict=True)] == [True] * 3
        return within(kendall, x, y, drawn)

    assert bootstrap(members_stay, groups, 0, 20) == bootstrap(partial(within, kendall, x, y), groups, 0, 20)
    with pytest.raises(ValueError, match="from low to high"):
        Interval(0.5, 0.6, 0.4)
