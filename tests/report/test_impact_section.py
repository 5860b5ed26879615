"""A year of use, on the page of a study."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nas.config import SearchConfig
from nas.errors import DataError
from nas.report import impact_section as module
from nas.report.grid import Grid
from nas.report.highlights import highlights
from nas.report.impact_section import impact_section
from nas.report.units import describe

from .examples import example_facts, without_energy
from .strategies import example_front


def test_the_recommended_member_and_its_neighbours() -> None:
    facts = example_facts(example_front())
    found = impact_section(facts)
    assert found["use"].startswith("Assumed: 1,000,000 inferences a day, electricity of the world average, and for devices without mains")
    (device,) = found["devices"]
    roles = {row["id"]: row["role"] for row in device["rows"]}
    best = highlights(facts.fronts[0])
    assert roles[best["knee"].id] == "recommended: the knee"
    assert {roles[best["fastest"].id], roles[best["most accurate"].id]} == {"fastest", "most accurate"}
    (row,) = (row for row in device["rows"] if row["recommended"])
    energy = best["knee"].candidate.metrics["energy_j"]
    kwh = energy.value * 1e6 * 365.25 / 3.6e6
    assert (row["energy"], row["kwh"]) == (describe("energy_j", energy), f"{kwh:.3g} ({kwh:.3g} to {kwh:.3g})")
    assert float(row["co2e"].split()[0]) == pytest.approx(0.475 * kwh, rel=0.01)  # 475 g CO2e/kWh
    assert float(row["days"].split()[0]) == pytest.approx(37 * 3600 / (energy.value * 1e6), rel=0.01)
    assert float(row["always_on"].split()[0]) < float(row["days"].split()[0])
    notes = " ".join(device["notes"])
    for words in ("Energy: modelled, board.", "world average 2019", "embodied footprint", "Always on:"):
        assert words in notes
    assert device["command"] == (f"nas impact digits-1 --pick {best['knee'].id} --inferences-per-day 1000000 --grid WORLD --battery 37")


def test_devices_are_named_where_there_are_several() -> None:
    commands = [each["command"] for each in impact_section(example_facts(example_front(), example_front(device="pixel3")))["devices"]]
    assert ["--device raspberrypi4" in commands[0], "--device pixel3" in commands[1]] == [True, True]


def test_without_watts_of_the_board_nothing_is_always_on() -> None:
    (device,) = impact_section(replace(example_facts(example_front()), powers={}))["devices"]
    assert {row["always_on"] for row in device["rows"]} == {""}
    assert "Always on is not known: the profile does not say what the board draws at rest." in device["notes"]


def test_a_word_where_energy_is_not_known() -> None:
    found = impact_section(example_facts(without_energy(example_front()), example_front(0, 0, device="pixel3")))
    assert [each["absent"] for each in found["devices"]] == [
        "The energy of an inference on raspberrypi4 is not known: the profile of raspberrypi4 has no power data.",
        "The energy of an inference on pixel3 is not known: no candidate is on its front.",
    ]


def test_several_devices_have_no_impact_of_their_own() -> None:
    facts = example_facts(example_front(device="joint-worst"))
    config = SearchConfig(**{**facts.config.model_dump(), "devices": ("raspberrypi4", "pixel3"), "joint": "worst"})
    (device,) = impact_section(replace(facts, config=config))["devices"]
    assert device["absent"] == "joint-worst stands for several devices, whose boards differ: an impact is that of one of them."


def test_without_carbon_data_there_is_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(code: str) -> Grid:
        raise DataError("CodeCarbon's data cannot be read")

    monkeypatch.setattr(module, "load_grid", broken)
    found = impact_section(example_facts(example_front()))
    assert (found["use"], found["devices"][0]["absent"]) == ("", "Not counted: CodeCarbon's data cannot be read.")
