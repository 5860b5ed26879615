"""How well networks use the chip, on the page of their study."""

from __future__ import annotations

from dataclasses import replace

from nas.report.chip_section import chip_section
from nas.report.facts import PredictorFacts

from .examples import example_facts, without_energy
from .strategies import example_front


def test_a_device_with_everything() -> None:
    (found,) = chip_section(example_facts(example_front(4, 4)))
    assert found["roofline"]["light"] != found["roofline"]["dark"]
    assert [subject for subject, _ in found["reached"]] == ["Peaks, 1 thread", "Reached, 1 thread"]
    assert "by a model of measured networks" in found["reached"][1][1]
    assert found["energy"]["light"].startswith("data:image/svg+xml;base64,")


def test_chip_facts_alone_are_no_finding() -> None:
    facts = replace(example_facts(example_front(2, 0)), predictors={"raspberrypi4": PredictorFacts(0, None, 3.0, "chip facts")})
    (found,) = chip_section(facts)
    assert "our assumption and no finding" in found["reached"][1][1]
    assert found["energy"] is None  # two candidates rank nothing


def test_a_word_where_something_is_not_known() -> None:
    front = without_energy(example_front(3, 1))
    facts = example_facts(front, example_front(0, 0, device="pixel3"))
    one, empty = chip_section(replace(facts, ceilings={}))
    assert one["why_no_roofline"] == "There is no roofline plot: no peaks of a chip are known for raspberrypi4."
    assert one["energy_words"].startswith("Multiply-adds and energy are not compared")
    assert empty["why_no_roofline"] == "There is no roofline plot: no candidate is on its front."
