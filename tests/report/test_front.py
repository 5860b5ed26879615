"""The values of front.json: a round trip, and every way in which a file can be wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from nas.errors import InputError
from nas.metrics import Metric
from nas.report.front import CANDIDATES, DOMINATED, OUTSIDE, CandidateRecord, FrontRecord

from .strategies import example_candidate, example_front, fronts


@settings(max_examples=60, deadline=None)
@given(fronts())
def test_round_trip_through_json(front: FrontRecord) -> None:
    assert FrontRecord.from_dict(json.loads(json.dumps(front.to_dict(), allow_nan=False))) == front


def test_keys_are_the_contract() -> None:
    data: dict[str, Any] = example_front().to_dict()
    contract = {"schema", "study", "device", "space", "data", "objectives", "hypervolume", "reference_point", "candidates"}
    assert data["schema"] == 1
    assert contract <= set(data)
    for each in data["candidates"]:
        assert {"id", "arch_id", "on_front", "finalist", "architecture", "target", "metrics", "artifacts"} <= set(each)
        assert set(each["target"]) == {"device", "runtime", "runtime_version", "precision", "threads"}
    assert data["candidates"][0]["metrics"]["accuracy_test"]["source"] == "trained"


def _set(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        here: Any = data
        for key in path[:-1]:
            here = here[key]
        here[path[-1]] = value

    return change


def _drop(*path: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        here: Any = data
        for key in path[:-1]:
            here = here[key]
        del here[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_set("schema", value=2), "newer hwnas"),
        (_set("schema", value=0), "schema 0"),
        (_set("schema", value="1"), "'schema' must be int"),
        (_set("colour", value=1), "unknown key 'colour'"),
        (_set("study", value="a/b"), "study must be"),
        (_set("device", value="pixel3"), "for device 'raspberrypi4'"),
        (_set("hypervolume", value="x"), "'hypervolume' must be float"),
        (_set("hypervolume", value=-1.0), "hypervolume must be"),
        (_set("hypervolume", value=float("inf")), "hypervolume"),
        (_set("reference_point", value=[1.0]), "reference_point"),
        (_set("objectives", value=["accuracy"]), "objectives"),
        (_set("objectives", value=[]), "objectives"),
        (_set("search", "trials", value=True), "trials"),
        (_drop("candidates"), "'candidates' is missing"),
        (_set("candidates", 2, value=3), "'candidates' must be dict"),
        (_set("candidates", 2, "colour", value=3), r"candidates\[2\]: unknown key 'colour'"),
        (_drop("candidates", 2, "on_front"), r"candidates\[2\]: 'on_front' is missing"),
        (_set("candidates", 2, "on_front", value=1), "'on_front' must be bool"),
        (_set("candidates", 2, "trial", value=True), "'trial' must be int"),
        (_set("candidates", 2, "id", value="x"), r"candidates\[2\]: id is 'x'"),
        (_set("candidates", 2, "architecture", "genes", "depth", value=99), r"candidates\[2\]: id is"),
        (_set("candidates", 2, "architecture", "genes", value=3), r"candidates\[2\]: an architecture is"),
        (_set("candidates", 2, "target", "precision", value="fp8"), r"candidates\[2\]: precision"),
        (_drop("candidates", 2, "target", "threads"), r"candidates\[2\].target: 'threads' is missing"),
        (_set("candidates", 2, "metrics", "latency_s", value=3.0), r"candidates\[2\]: metrics: 'latency_s' must be dict"),
        (_set("candidates", 2, "metrics", "latency_s", "value", value="fast"), r"candidates\[2\]: a metric"),
        (_set("candidates", 2, "metrics", "latency_s", "source", value="guess"), r"candidates\[2\]: .*guess"),
        (_drop("candidates", 2, "metrics", "latency_s"), "need latency_s"),
        (_set("candidates", 2, "artifacts", value={"onnx": "../../etc/passwd"}), "inside the study's folder"),
        (_set("candidates", 2, "gene_numbers", value={"depth": "deep"}), "gene_numbers: 'depth' must be float"),
    ],
)
def test_a_wrong_file_is_refused_with_its_key(change: Callable[[dict[str, Any]], None], says: str) -> None:
    data = copy.deepcopy(example_front().to_dict())
    change(data)
    with pytest.raises(InputError, match=says):
        FrontRecord.from_dict(data)


def test_a_front_has_one_source_of_accuracy_and_each_candidate_once() -> None:
    front = example_front(3, 0)
    first = front.candidates[0]
    accuracies = {**first.candidate.metrics, "accuracy_search": Metric(0.9, "1", "trained")}
    mixed = replace(first, candidate=replace(first.candidate, metrics=accuracies))
    with pytest.raises(InputError, match="one source"):
        replace(front, candidates=(mixed, *front.candidates[1:]))
    with pytest.raises(InputError, match="twice"):
        replace(front, candidates=(first, first))


def test_values_are_frozen_and_front_is_sorted() -> None:
    front = example_front()
    latencies = [record.value("latency_s") or 0 for record in front.front]
    assert latencies == sorted(latencies)
    assert len(front.front) == 12
    assert all(record.value("accuracy_test") for record in front.finalists)
    with pytest.raises(TypeError):
        front.candidates[0].artifacts["x"] = "y"  # type: ignore[index]
    with pytest.raises(InputError, match="finite"):
        CandidateRecord(example_candidate(0, 3).candidate, True, gene_numbers={"depth": float("nan")})


def test_a_record_says_how_much_of_the_search_it_holds() -> None:
    front = example_front(3, 7)
    assert (front.evaluated, front.total, front.held) == (10, 10, "")
    assert front.found == "3 of 10 evaluated networks are on the front"
    large = replace(front, search={"trials": 1500.0, CANDIDATES: 3000.0})
    assert (large.evaluated, large.total, large.held) == (1500, 3000, "10 of 3,000 candidates")
    assert large.found == "3 of 1,500 evaluated networks are on the front"
    first, *others = front.candidates
    twin = replace(first, candidate=replace(first.candidate, target=replace(first.candidate.target, threads=4)))
    assert replace(front, candidates=(first, twin)).found == "1 of 10 evaluated networks is on the front, 2 with their targets"
    assert replace(front, candidates=tuple(others[2:])).found == "none of 10 evaluated networks are on the front"


def test_why_a_candidate_is_not_on_the_front() -> None:
    member, beaten = example_candidate(0, 1), example_candidate(1, 1)
    outside = replace(beaten, feasible=False)
    assert [each.why_not for each in (member, beaten, outside)] == ["", DOMINATED, OUTSIDE]
    assert CandidateRecord.from_dict(outside.to_dict()) == outside
    older = {key: value for key, value in beaten.to_dict().items() if key != "feasible"}
    assert CandidateRecord.from_dict(older) == beaten
