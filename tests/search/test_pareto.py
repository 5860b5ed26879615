"""Pareto tools against their definitions, spelled out in loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.search.pareto import Losses, front, hypervolume, knee, select, tied

# Few different values, so that ties and equal rows are frequent.
values = st.integers(-3, 5).map(float) | st.floats(-1e3, 1e3)


@st.composite
def losses(draw: st.DrawFn, objectives: int | None = None, most: int = 12) -> Losses:
    columns = objectives or draw(st.integers(2, 3))
    rows = draw(st.lists(st.tuples(*[values] * columns), max_size=most))
    return np.array(rows, dtype=np.float64).reshape(len(rows), columns)


def dominates(one: Losses, other: Losses) -> bool:
    return bool((one <= other).all() and (one < other).any())


@given(losses())
def test_the_front_is_what_nothing_dominates(rows: Losses) -> None:
    marks = front(rows)
    for number, row in enumerate(rows):
        equal_before = any((other == row).all() for other in rows[:number])
        assert marks[number] == (not equal_before and not any(dominates(other, row) for other in rows))


@given(losses(), st.randoms())
def test_the_front_does_not_depend_on_the_order(rows: Losses, random: object) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert {tuple(row) for row in rows[front(rows)]} == {tuple(row) for row in rows[order][front(rows[order])]}


@given(losses(objectives=2, most=6).map(np.round), st.tuples(st.integers(-3, 6), st.integers(-3, 6)))
def test_hypervolume_counts_the_unit_squares_that_are_dominated(rows: Losses, reference: tuple[int, int]) -> None:
    rows = np.clip(rows, -4, 7)
    squares = itertools.product(range(-4, reference[0]), range(-4, reference[1]))
    expected = sum(any(x >= a and y >= b for a, b in rows) for x, y in squares)
    assert hypervolume(rows, [float(value) for value in reference]) == pytest.approx(expected)


def test_hypervolume_by_hand() -> None:
    assert hypervolume(np.array([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0], [2.5, 2.5]]), [3.0, 3.0]) == 6.0
    assert hypervolume(np.empty((0, 2)), [1.0, 1.0]) == 0.0
    assert hypervolume(np.array([[1.0, 0.0]]), [1.0, 1.0]) == 0.0
    assert hypervolume(np.array([[0.0, 0.0, 0.0]]), [1.0, 2.0, 3.0]) == 6.0


fronts = losses().map(lambda rows: rows[front(rows)]).filter(len)


def scaled(rows: Losses) -> list[list[float]]:
    columns = [(min(column), max(column)) for column in rows.T.tolist()]
    return [[(x - low) / ((high - low) or 1.0) for x, (low, high) in zip(row, columns, strict=True)] for row in rows.tolist()]


@given(fronts)
def test_the_knee_is_farthest_below_the_line_through_the_ends(rows: Losses) -> None:
    found = knee(rows)
    if len(rows) < 3:
        distances = [math.hypot(*row) for row in scaled(rows)]
    else:
        # Distance of a point from the plane sum(x) = 1, signed: the knee's is the smallest.
        distances = [(sum(row) - 1) / math.sqrt(rows.shape[1]) for row in scaled(rows)]
    assert distances[found] == pytest.approx(min(distances), abs=1e-12)


def test_the_knee_by_hand() -> None:
    assert knee(np.array([[0.0, 100.0], [0.1, 20.0], [0.5, 10.0], [1.0, 0.0]])) == 1
    assert knee(np.array([[3.0, 4.0]])) == 0


@given(fronts, st.integers(0, 14))
def test_selected_are_the_ends_the_knee_and_others_apart(rows: Losses, k: int) -> None:
    chosen = select(rows, k)
    assert len(chosen) == len(set(chosen)) == min(k, len(rows))
    assert all(rows[a, -1] <= rows[b, -1] for a, b in itertools.pairwise(chosen))
    if k >= rows.shape[1] + 1:
        assert knee(rows) in chosen
        for column in range(rows.shape[1]):
            assert rows[chosen, column].min() == rows[:, column].min()
    # One more keeps those before it.
    assert set(chosen) <= set(select(rows, k + 1))


def test_selected_are_spread() -> None:
    x = np.linspace(0, 1, 101)
    chosen = select(np.stack([x, (1 - x) ** 2], axis=1), 5)
    gaps = np.diff(np.sort(x[chosen]))
    assert gaps.max() < 0.4
    assert gaps.min() > 0.1
    assert select(np.empty((0, 2)), 5) == []


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 100).map(lambda thousandths: thousandths / 1000)), max_size=10))
def test_tied_are_gains_that_may_be_chance(members: list[tuple[float, float]]) -> None:
    marks = tied([value for value, _ in members], [error for _, error in members])
    assert marks[:1] in ([], [False])
    for number, (value, error) in enumerate(members):
        clear = [member for member, mark in zip(members[:number], marks, strict=False) if not mark]
        if clear:
            best, its_error = clear[-1]
            assert marks[number] == (value - best < 1.645 * math.sqrt(error**2 + its_error**2))


def test_tied_by_hand() -> None:
    # .91 is no clear gain over .90; .95 is one over .90; .955 is none over .95; .99 is one over .95.
    assert tied([0.90, 0.91, 0.95, 0.955, 0.99], [0.01] * 5) == [False, True, False, True, False]
    assert tied([], []) == []


def test_what_costs_nothing_more_is_selected_where_it_is_far_enough() -> None:
    # On a straight line the ends and the knee, which is the first row, are always chosen.
    line = np.array([[8.0 - x, float(x)] for x in range(9)])
    assert select(line, 3) == [0, 4, 8]
    assert select(line, 3, had=[6]) == [0, 6, 8]
    assert select(line, 3, had=[6, 3]) == [0, 3, 8]  # the one that is farther from both ends
    assert select(line, 3, had=[7]) == [0, 4, 8]  # less than half as far as the middle
    assert select(line, 3, had=range(9)) == [0, 4, 8]
    assert select(line, 2, had=[4]) == [0, 8]
