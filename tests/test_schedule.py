"""When a search pauses to measure."""

from __future__ import annotations

import pytest

from nas.schedule import EVERY, LEAST_NETWORKS, MEASURINGS, fewest_trials, measurings, pause_at


@pytest.mark.parametrize(
    ("before", "trials", "has_measured", "found"),
    [
        (0, 150, False, 25), (25, 150, True, 50), (0, 40, False, 20), (20, 40, True, None),
        (0, 39, False, 19), (0, 20, False, 10), (10, 20, True, None), (0, 8, False, 4), (0, 5, False, LEAST_NETWORKS), (0, 4, False, None),
        (60, 75, False, 67), (67, 75, True, None), (38, 40, False, 39), (39, 40, False, None), (40, 40, False, None),
    ],
)  # fmt: skip
def test_the_first_pause_comes_while_there_is_something_left_to_search(
    before: int, trials: int, has_measured: bool, found: int | None
) -> None:
    assert pause_at(before, trials, has_measured) == found


def test_every_search_that_can_pauses_once_and_none_too_often() -> None:
    for before in range(3 * EVERY):
        fewest = fewest_trials(before)
        assert pause_at(before, fewest - 1, has_measured=False) is None
        for trials in range(fewest, fewest + 12 * EVERY):
            assert before < (pause_at(before, trials, has_measured=False) or 0) < trials
            assert 1 <= measurings(before, trials, has_measured=False) <= MEASURINGS
