from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from nas.cli.picking import choose
from nas.errors import InputError
from nas.metrics import Metric
from nas.report.front import FrontRecord
from nas.report.highlights import Highlight, choice, cost_of, highlights, knee, target_words
from nas.report.runs import members
from nas.report.tracking.registry import aliases

from .strategies import example_front, with_pruned
from .test_roofline import on_threads


def test_the_ends_and_the_knee() -> None:
    front = example_front()
    found = highlights(front)
    assert (found["fastest"], found["most accurate"]) == (front.front[0], front.front[-1])
    assert found["knee"] not in (front.front[0], front.front[-1])
    assert found["knee"] == knee(front.front, "latency_s")


def test_small_fronts() -> None:
    assert highlights(example_front(0, 5)) == {}
    (only,) = example_front(1, 0).front
    assert set(highlights(example_front(1, 0))) == {"fastest", "knee", "most accurate"}
    assert all(each == only for each in highlights(example_front(1, 0)).values())
    with pytest.raises(InputError, match="no knee"):
        knee((), "latency_s")


def test_the_cost_that_counts() -> None:
    front = example_front()
    assert cost_of(front) == "latency_s"
    assert cost_of(replace(front, objectives=("accuracy_search", "params", "latency_s"), reference_point=(0.0, 1.0, 1.0))) == "latency_s"
    assert cost_of(replace(front, objectives=("accuracy_search", "params"), reference_point=(0.0, 1.0))) == "params"


def test_target_words() -> None:
    assert target_words(example_front()) == "raspberrypi4, onnxruntime 1.22, fp32, 1 thread"
    assert target_words(example_front(0, 0)) == "raspberrypi4"
    assert target_words(on_threads(example_front(), 1, 2, 4)) == "raspberrypi4, onnxruntime 1.22, fp32, 1, 2 or 4 threads"


def validated(front: FrontRecord, name: str, value: float) -> FrontRecord:
    """A front with another accuracy on search-validation of one of its networks."""
    candidates = []
    for each in front.candidates:
        metrics = {**each.candidate.metrics, "accuracy_validation": Metric(value, "1", "trained")}
        candidates.append(replace(each, candidate=replace(each.candidate, metrics=metrics)) if each.id == name else each)
    return replace(front, candidates=tuple(candidates))


def test_without_pruned_ones_the_front_is_chosen_from_by_search_accuracy() -> None:
    front = example_front()
    found = choice(front)
    assert (found.able, found.members, found.accuracy, found.words) == (front.front, front.front, "accuracy_search", "")


def test_trained_networks_are_compared_by_what_all_of_them_have() -> None:
    front = with_pruned(example_front())
    *whole, pruned = front.finalists
    found = choice(front)
    assert found.accuracy == "accuracy_validation"
    assert {each.id for each in found.members} == {each.id for each in front.finalists}
    assert {each.id for each in found.untrained} == {each.id for each in front.front} - {each.id for each in whole}
    assert "among 5 that are trained, 1 of them pruned; 8 of the front are not trained, so not compared" in found.words
    best = highlights(front)
    assert (best["fastest"].id, best["most accurate"].id) == (pruned.id, whole[-1].id)
    # What is better on search-validation than its parent, and faster, takes its place; tests do not count.
    better = choice(validated(front, pruned.id, 0.95))
    assert whole[0].id not in {each.id for each in better.members}
    assert whole[0].id in {each.id for each in better.able}
    most = highlights(validated(front, pruned.id, 0.999))
    assert {each.id for each in most.values()} == {pruned.id}
    assert (pruned.value("accuracy_test") or 0) < (whole[-1].value("accuracy_test") or 0)


def test_of_some_networks_only() -> None:
    front = with_pruned(example_front())
    pruned = front.finalists[-1]
    assert (choice(front, front.front).members, choice(front, front.front).accuracy) == (front.front, "accuracy_search")
    only = choice(front, [pruned])
    assert [only.of(role).id for role in get_args(Highlight)] == [pruned.id] * 3
    assert choice(front, ()).members == ()
    with pytest.raises(InputError, match="digits-1 has no members"):
        choice(front, ()).of("fastest")


def over_params(front: FrontRecord) -> FrontRecord:
    """As if of a search for few parameters, where what is small is slow."""
    candidates = []
    for each in front.candidates:
        metrics = {**each.candidate.metrics, "params": Metric(1e3 / (each.value("latency_s") or 1.0), "1", "counted")}
        candidates.append(replace(each, candidate=replace(each.candidate, metrics=metrics)))
    return replace(front, candidates=tuple(candidates), objectives=("accuracy_search", "params"), reference_point=(0.0, 1e9))


def test_the_fastest_has_the_least_latency_whatever_the_front_is_over() -> None:
    front = over_params(example_front())
    by_latency = sorted(front.front, key=lambda each: each.value("latency_s") or 0.0)
    assert by_latency[0] != front.front[0]
    picked, _ = choose(front, None, {}, "fastest")
    assert picked == highlights(front)["fastest"] == aliases(front, front.finalists)["fastest"] == by_latency[0]
    assert members(front, 100) == by_latency  # their ranks in MLflow, 1 is the fastest
    assert members(front, 4)[0] == by_latency[0]
