"""What a search itself cost, on its page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nas.report.cost_section import cost_section
from nas.report.facts import StudyFacts

from .examples import example_facts
from .strategies import example_front
from .studies import COST


@pytest.fixture(scope="module")
def facts() -> StudyFacts:
    return example_facts(example_front())


def test_time_is_that_of_the_log(facts: StudyFacts) -> None:
    parts = {part: (time, share) for part, time, share in cost_section(facts)["times"]}
    assert parts["Training the supernet"] == ("1 min 00 s", pytest.approx(0.6))
    assert parts["All runs of this study until this page was written, wall-clock"] == ("1 min 33 s", 0.0)


def test_electricity_by_what_it_was_spent_on(facts: StudyFacts) -> None:
    counted = replace(facts, fronts=tuple(replace(front, search=COST) for front in facts.fronts))
    found = cost_section(counted)
    assert found["electricity"] == [
        ("Training", "1 min 00 s", "0.0012", "6e-05"),
        ("Evaluating networks", "30 s", "0.0006", "3e-05"),
        ("Reading, choosing, writing", "5 s", "0.0001", "5e-06"),
        ("In all", "1 min 35 s", "0.0019", "9.5e-05"),
    ]
    assert found["obtained"].startswith(
        "modelled, scope: this machine: processor, memory, GPUs; CodeCarbon 3, no counter may be read: constant watts of the processor's "
        "class; electricity of France 2023."
    )


def test_what_nobody_counted_is_not_there(facts: StudyFacts) -> None:
    assert (cost_section(facts)["electricity"], cost_section(facts)["obtained"]) == ([], "")
    failed = {"cost_other_s": 5.0, "cost_source": "unknown: no carbon data are installed"}
    found = cost_section(replace(facts, fronts=tuple(replace(front, search=failed) for front in facts.fronts)))
    assert (found["electricity"], found["obtained"]) == ([], "Electricity of the search: unknown: no carbon data are installed.")
