"""Targets: what latency depends on besides the network."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import InputError
from nas.target import PRECISIONS, Target

words = st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True)
targets = st.builds(Target, words, words, words, st.sampled_from(PRECISIONS), st.integers(1, 256))
PI = Target("raspberrypi4", "onnxruntime", "unknown", "fp32", 1)


def test_ids_are_the_same_in_every_version() -> None:
    assert PI.key == "raspberrypi4/onnxruntime/fp32/1"
    assert PI.candidate_id("d2879f06d6cd") == "d2879f06d6cd-5b08"


@given(targets)
def test_to_dict_and_back(target: Target) -> None:
    assert Target(**target.to_dict()) == target  # type: ignore[arg-type]


@given(targets, targets)
def test_keys_differ_where_more_than_the_version_does(one: Target, other: Target) -> None:
    same = dataclasses.replace(one, runtime_version="") == dataclasses.replace(other, runtime_version="")
    assert (one.key == other.key) == same
    assert one.key == dataclasses.replace(one, runtime_version="another").key


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"device": ""}, "a device and a runtime, got '' and 'onnxruntime'"),
        ({"runtime": ""}, "got 'raspberrypi4' and ''"),
        ({"precision": "fp64"}, "precision must be one of fp32, .*, got 'fp64'"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
    ],
)
def test_targets_that_cannot_be_are_refused(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        dataclasses.replace(PI, **changes)
