"""When a search pauses to measure, and how what is left of its time is shared."""

from __future__ import annotations

import pytest

from nas import schedule
from nas.schedule import (
    EVERY,
    EXPORT_S,
    LEAST_NETWORKS,
    LEAST_S,
    MEASURINGS,
    Pace,
    ends_s,
    fewest_trials,
    measurings,
    pause_at,
    record_s,
)


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


class Clock:
    """In the place of `time`."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


def test_a_short_budget_keeps_time_for_the_files_of_finalists_and_for_writing() -> None:
    assert ends_s(3600.0, 1, 5) == (0.7 * 3600, 3600 - record_s(1))
    assert ends_s(60.0, 1, 5) == (60 - record_s(1) - 5 * (LEAST_S + EXPORT_S), 60 - record_s(1))
    assert ends_s(60.0, 3, 0)[1] == 60 - record_s(3) < 60 - record_s(1)


def test_files_take_their_time_from_training(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(schedule, "time", clock)
    assert Pace(None).share_s(3, 3) is None
    pace = Pace(clock.now + 60)
    ended = []
    for left in (3, 2, 1):
        share_s = pace.share_s(left, left)
        assert share_s is not None
        clock.now += share_s + 10  # its files take longer than was thought
        pace.shipped(10)
        ended.append(clock.now)
    assert ended[-1] == pytest.approx(1060)
    assert pace.share_s(1, 1) == LEAST_S  # however late it is
    assert Pace(clock.now + 60).share_s(0, 0) == 60
