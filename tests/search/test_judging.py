from __future__ import annotations

from nas.metrics import OBJECTIVES
from nas.search.judging import VALIDATION, judged_by, unbeaten
from tests.report.strategies import example_front, with_pruned


def test_validation_stands_for_the_accuracy_of_the_search() -> None:
    assert judged_by([OBJECTIVES["accuracy"], OBJECTIVES["latency"]]) == (VALIDATION, OBJECTIVES["latency"])


def test_what_another_beats_in_all_is_beaten_and_of_equal_ones_the_first_stays() -> None:
    trained = [each.candidate for each in with_pruned(example_front()).finalists]
    costs = [OBJECTIVES["latency"]]
    assert unbeaten(trained, costs) == [True] * len(trained)
    slower = [trained[1], trained[0], trained[0]]
    assert unbeaten(slower, costs) == [True, True, False]
    assert unbeaten([], costs) == []
