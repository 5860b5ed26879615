"""What report.html says of how well the networks use the chip, and of how far their multiply-adds tell their energy."""

from __future__ import annotations

from typing import Any

from nas.report.canvas import DARK, LIGHT
from nas.report.facts import StudyFacts
from nas.report.front import FrontRecord
from nas.report.macs_energy import known_energies, macs_energy_svg, macs_energy_words
from nas.report.pages import picture
from nas.report.roofline import by_target, roofline_svg, roofline_words

__all__ = ["chip_section"]


def chip_section(facts: StudyFacts) -> list[dict[str, Any]]:
    """For each device its roofline plot and its energy over multiply-adds, each with what it says; or a word on why there is none."""
    return [{"name": record.device, **_roofline(record, facts), **_energy(record)} for record in facts.fronts]


def _roofline(record: FrontRecord, facts: StudyFacts) -> dict[str, Any]:
    ceilings = facts.ceilings.get(record.device, {})
    if not by_target(record, ceilings):
        why = "no candidate is on its front" if not record.shown else f"no peaks of a chip are known for {record.device}"
        return {"roofline": None, "why_no_roofline": f"There is no roofline plot: {why}."}
    predictor = facts.predictors.get(record.device)
    is_known = predictor is not None and predictor.measurements > 0
    return {
        "roofline": picture(roofline_svg(record, ceilings, LIGHT), roofline_svg(record, ceilings, DARK)),
        "roofline_alt": f"Multiply-adds a second over arithmetic intensity of the networks on {record.device}, beneath the chip's peaks.",
        "reached": list(roofline_words(record, ceilings, is_known=is_known)),
    }


def _energy(record: FrontRecord) -> dict[str, Any]:
    if not known_energies(record):
        return {
            "energy": None,
            "energy_words": f"Multiply-adds and energy are not compared: too few energies on {record.device} are known.",
        }
    return {
        "energy": picture(macs_energy_svg(record, LIGHT), macs_energy_svg(record, DARK)),
        "energy_alt": f"Energy over multiply-adds of the candidates on {record.device}.",
        "energy_words": macs_energy_words(record),
    }
