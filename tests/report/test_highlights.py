from __future__ import annotations

from dataclasses import replace

import pytest

from nas.errors import InputError
from nas.report.highlights import cost_of, highlights, knee, target_words

from .strategies import example_front
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
