"""Multiply-adds beside energy, in a picture and in words."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from nas.errors import InputError
from nas.metrics import Metric
from nas.report.canvas import LIGHT
from nas.report.front import FrontRecord
from nas.report.macs_energy import macs_energy_svg, macs_energy_words

from .strategies import example_front, with_pruned
from .test_roofline import on_threads


def with_energies(front: FrontRecord, *energies: Metric | None) -> FrontRecord:
    """Candidates of 1, 2, 3 ... million multiply-adds with these energies."""
    found = []
    for number, (each, energy) in enumerate(zip(front.candidates, energies, strict=True), 1):
        rest = {name: metric for name, metric in each.candidate.metrics.items() if name != "energy_j"}
        metrics = {**rest, "macs": Metric(number * 1e6, "MAC", "counted"), **({"energy_j": energy} if energy else {})}
        found.append(replace(each, candidate=replace(each.candidate, metrics=metrics)))
    return replace(front, candidates=tuple(found))


def joules(*values: float) -> list[Metric]:
    return [Metric(value, "J", "measured", scope="core rail") for value in values]


def test_rank_correlation_is_said_in_words() -> None:
    front = with_energies(example_front(4, 0), *joules(0.002, 0.001, 0.004, 0.008))  # ranks 2 1 3 4 of 1 2 3 4
    text = macs_energy_words(front)
    assert "Over 4 candidates multiply-adds rank energy (measured, core rail) with Spearman's ρ = 0.80" in text
    assert "a multiply-add takes 0.5 to 2 nJ" in text
    assert "watts times latency" not in text


def test_modelled_energy_is_no_evidence_on_its_own() -> None:
    assert "Energy is watts times latency here" in macs_energy_words(example_front())


def test_targets_are_told_apart() -> None:
    front = on_threads(with_energies(example_front(6, 0), *joules(0.01, 0.001, 0.03, 0.003, 0.05, 0.005)), 1, 2)
    text = macs_energy_words(front)
    assert "On one target ρ is 1.00 or more" in text
    assert "with Spearman's ρ = 0.20" in text
    assert ElementTree.fromstring(macs_energy_svg(front, LIGHT)).tag.endswith("svg")


def test_too_few_energies_are_not_compared() -> None:
    front = with_energies(example_front(4, 0), *joules(0.002, 0.001), None, None)
    assert macs_energy_words(front) == ""
    with pytest.raises(InputError, match="needs 3 candidates"):
        macs_energy_svg(front, LIGHT)


def test_a_picture_is_the_same_twice() -> None:
    assert macs_energy_svg(example_front(), LIGHT) == macs_energy_svg(example_front(), LIGHT)


def test_what_was_pruned_is_not_drawn_as_dominated() -> None:
    whole = example_front(4, 0)
    drawn, plain = macs_energy_svg(with_pruned(whole), LIGHT), macs_energy_svg(whole, LIGHT)
    assert [b"<!-- " + words + b" -->" in drawn for words in (b"on the front", b"pruned finalists", b"dominated")] == [True, True, False]
    assert b"<!-- pruned finalists -->" not in plain


def test_what_is_outside_the_constraints_is_not_drawn_as_dominated() -> None:
    front = example_front(3, 4)
    outside = tuple(replace(each, feasible=each.on_front) for each in front.candidates)
    drawn = macs_energy_svg(replace(front, candidates=outside), LIGHT)
    assert [b"<!-- " + words + b" -->" in drawn for words in (b"outside the constraints", b"dominated")] == [True, False]
