"""Fronts that are chosen by search-validation and judged by test."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.bench.contest_fronts import Point, best_within, dominated, front, gain, hypervolume

SHARES = st.integers(0, 20).map(lambda n: n / 20)
POINTS = st.lists(
    st.builds(Point, st.uuids().map(str), st.integers(1, 20).map(float), SHARES, SHARES, st.integers(0, 9).map(float), st.just(1.0)),
    min_size=1, max_size=12,
)  # fmt: skip


def at(latency_s: float, accuracy: float, test: float | None = None, ready_s: float = 0.0) -> Point:
    return Point(f"{latency_s}-{accuracy}", latency_s, accuracy, accuracy if test is None else test, ready_s, 1.0)


def test_the_front_is_chosen_by_search_validation_whatever_test_says() -> None:
    points = [at(2, 0.8, 0.1), at(1, 0.7, 0.2), at(3, 0.75, 0.99), at(2, 0.8, 0.9)]
    assert front(points) == [points[1], points[0]]
    assert best_within(points, 9).test == 0.1
    with pytest.raises(ValueError, match=r"latency of 0\.5"):
        best_within(points, 0.5)


def test_gain_is_at_the_median_latency_that_both_cover() -> None:
    ours = [at(1, 0.5), at(3, 0.8), at(5, 0.9)]
    theirs = [at(2, 0.6), at(4, 0.7)]
    found = gain(ours, theirs)  # covered from 2 on: 2, 3, 4, 5, with the median between 3 and 4
    assert found.latency_s == 3.5
    assert found.value == pytest.approx(0.8 - 0.6)
    apart = gain([at(1, 0.5)], [at(8, 0.7)])
    assert (apart.latency_s, apart.value) == (8, pytest.approx(-0.2))
    with pytest.raises(ValueError, match="at least one network, got 0 and 1"):
        gain([], theirs[:1])


@given(POINTS, POINTS)
def test_gain_changes_sides(ours: list[Point], theirs: list[Point]) -> None:
    one, other = gain(ours, theirs), gain(theirs, ours)
    assert one.latency_s == other.latency_s
    assert one.value == -other.value
    assert gain(ours, ours).value == 0


@given(POINTS, POINTS)
def test_who_is_dominated(ours: list[Point], theirs: list[Point]) -> None:
    few, many = dominated(theirs, ours)
    assert 0 <= few <= many == len(front(theirs))
    ahead = [Point(p.id, p.latency_s / 2, p.validation, p.test, p.at_s, p.own_s) for p in theirs]
    assert dominated(theirs, ahead) == (many, many)


def test_an_equal_network_dominates_nobody() -> None:
    assert dominated([at(1, 0.5), at(2, 0.6)], [at(1, 0.5), at(2, 0.7)]) == (1, 2)


@given(POINTS)
def test_hypervolume_is_a_share_of_what_is_possible(points: list[Point]) -> None:
    found = hypervolume(points, 20.0, 0.1)
    assert 0 <= found <= 1
    by_choice = [hypervolume(points, 20.0, 0.1, until_s=t, judge="validation") for t in (-1.0, 0.0, 3.0, 6.0, math.inf)]
    assert by_choice[0] == 0
    assert by_choice == sorted(by_choice)  # what is chosen by search-validation grows with time; what test says of it may fall


def test_hypervolume_of_one_network_is_its_box() -> None:
    assert hypervolume([at(5, 0.55)], 20.0, 0.1) == pytest.approx(0.45 / 0.9 * 0.75)
    assert hypervolume([at(5, 0.05)], 20.0, 0.1) == 0
    assert hypervolume([at(5, 0.55, ready_s=9)], 20.0, 0.1, until_s=8) == 0


@pytest.mark.parametrize(("latency_s", "accuracy"), [(0.0, 0.5), (math.inf, 0.5), (1.0, 1.5), (1.0, -0.1)])
def test_a_point_checks_itself(latency_s: float, accuracy: float) -> None:
    with pytest.raises(ValueError, match=r"accuracies are 0 to 1|latency is positive"):
        at(latency_s, accuracy)
