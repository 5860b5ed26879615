"""The contest with trials from scratch: what is kept of a run, and that it runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nas.bench import cifar10
from nas.bench.cifar10_plot import picture
from nas.bench.contest import Contest, Run
from nas.bench.contest_fronts import Point
from nas.bench.pieces import Pieces


def test_a_run_is_kept_as_json() -> None:
    found = Run(3, 12.5, {"supernet": 4.0}, (Point("a", 0.01, 0.8, 0.75, 9.0, 2.0),))
    assert Run.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_the_better_length_is_chosen_by_search_validation_and_run_with_every_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, int, int]] = []

    def found(accuracy: float, test: float) -> Run:
        return Run(1, 1.0, {}, (Point("a", 1e-4, accuracy, test, 1.0, 1.0),))

    def alone(contest: Contest, epochs: int, seed: int, cache: Path) -> Run:
        made.append(("alone", epochs, seed))
        return found({3: 0.5, 10: 0.7}[epochs], {3: 0.9, 10: 0.1}[epochs])

    def whole(contest: Contest, seed: int, runs: Path) -> Run:
        made.append(("whole", 0, seed))
        return found(0.8, 0.8)

    monkeypatch.setattr(cifar10, "from_scratch", alone)
    monkeypatch.setattr(cifar10, "whole_path", whole)
    contest, _ = cifar10.contest_of(Path(), tmp_path, smoke=True)
    for again in range(2):
        pieces = Pieces.of(tmp_path / "pieces", {})
        contested = cifar10.contested(contest, pieces, tmp_path, (3, 10), (0, 1))
        assert contested.length == 10
        assert {seed: run.points[0].test for seed, run in contested.theirs.items()} == {0: 0.1, 1: 0.1}
        assert made == [("alone", 3, 0), ("alone", 10, 0), ("whole", 0, 0), ("alone", 10, 1), ("whole", 0, 1)], again
    of_finalists = replace(contest, recipe=contest.recipe.model_copy(update={"finetune_lr": 0.5}))
    cifar10.contested(of_finalists, Pieces.of(tmp_path / "pieces", {}), tmp_path, (3, 10), (0, 1))
    assert made[5:] == [("whole", 0, 0), ("whole", 0, 1)]


def test_it_runs_and_gives_every_mark() -> None:
    outcome = cifar10.run(Path(), smoke=True)
    assert [mark.id for mark in outcome.marks] == ["front", "dominate"]
    lengths = [row for row in outcome.rows if "is the baseline" in row]
    assert [row["epochs a trial from scratch"] for row in lengths] == [1, 2]
    best = max(lengths, key=lambda row: float(row["hypervolume, search-validation"]))
    assert [row for row in lengths if row["is the baseline"]] == [best]
    assert float(best["our points of test accuracy above it"]) == pytest.approx(outcome.marks[0].value)
    ours, theirs = (row for row in outcome.rows if "method" in row)
    assert "supernet" in str(ours["minutes of which"])
    assert (ours["networks tried"], theirs["networks tried"]) == (3, best["networks"])
    assert all(float(row["hypervolume, test"]) >= 0 for row in (ours, theirs))
    members = [row for row in outcome.rows if "front member of" in row]
    assert len(members) == float(ours["on the front"]) + float(theirs["on the front"])
    assert all(float(row["s for it alone"]) <= 60 * float(row["ready, minutes"]) for row in members)
    assert outcome.picture is not None
    assert outcome.picture.startswith(b"\x89PNG")


def test_the_length_that_is_not_the_baseline_is_in_the_picture() -> None:
    points = [Point("a", 0.001, 0.7, 0.7, 1.0, 1.0), Point("b", 0.002, 0.8, 0.8, 2.0, 1.0)]
    alone, both = (picture({0: points}, {0: points}, beside, "pixel3", 60) for beside in ({}, {"the same, 10 epochs a trial": points}))
    assert alone != both
