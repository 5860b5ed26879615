"""What report.html says of a choice in use: electricity, CO2 equivalent and battery of the networks that people ask for first."""

from __future__ import annotations

import shlex
from typing import Any

from nas.errors import DataError, MissingExtraError
from nas.report.certainty import sentence
from nas.report.facts import StudyFacts
from nas.report.front import FrontRecord
from nas.report.grid import WORLD, load_grid
from nas.report.highlights import highlights
from nas.report.impact import BATTERY_WH, INFERENCES_PER_DAY, Impact, Use, battery_notes, impact_notes, impact_of
from nas.report.units import describe
from nas.search.fleet import fleet_name

__all__ = ["impact_section"]

RECOMMENDED = "knee"


def impact_section(facts: StudyFacts) -> dict[str, Any]:
    """The assumed use, and for each device rows of its highlights, or a word on why there are none."""
    try:
        use = Use(INFERENCES_PER_DAY, load_grid(WORLD), BATTERY_WH)
    except (MissingExtraError, DataError) as exc:
        return {"use": "", "devices": [{"name": record.device, "absent": f"Not counted: {exc}."} for record in facts.fronts]}
    return {
        "use": f"Assumed: {use.inferences_per_day:,.0f} inferences a day, electricity of the {use.grid.name}, and for devices without "
        f"mains a battery of {use.battery_wh:g} Wh (a power bank of 10,000 mAh). Nothing of your use is known: the command takes your "
        "numbers.",
        "battery": f"{use.battery_wh:g} Wh",
        "devices": [_device(record, use, facts) for record in facts.fronts],
    }


def _device(record: FrontRecord, use: Use, facts: StudyFacts) -> dict[str, Any]:
    found = {role: each for role, each in highlights(record).items() if "energy_j" in each.candidate.metrics}
    known: dict[str, Any] = {"name": record.device, "absent": "", "rows": [], "notes": [], "command": ""}
    if facts.config.joint is not None and record.device == fleet_name(facts.config.joint):
        return {**known, "absent": f"{record.device} stands for several devices, whose boards differ: an impact is that of one of them."}
    if RECOMMENDED not in found:
        why = "no candidate is on its front" if not record.front else f"the profile of {record.device} has no power data"
        return {**known, "absent": f"The energy of an inference on {record.device} is not known: {why}."}
    impacts: dict[str, Impact] = {}
    roles: dict[str, list[str]] = {}
    for role, each in found.items():
        metrics = each.candidate.metrics
        roles.setdefault(each.id, ["pruned"] if each.pruned else []).append(role)
        impacts[each.id] = impact_of(each.id, metrics["energy_j"], metrics["latency_s"], use, facts.powers.get(record.device))
    known["rows"] = [_row(impact, roles[name]) for name, impact in impacts.items()]
    every = tuple(impacts.values())
    known["notes"] = [sentence(note) for note in (*impact_notes(every, use), *battery_notes(every))]
    known["command"] = shlex.join([
        "nas", "impact", record.study, *(["--device", record.device] if len(facts.fronts) > 1 else []), "--pick", found[RECOMMENDED].id,
        "--inferences-per-day", f"{use.inferences_per_day:.0f}", "--grid", use.grid.code, "--battery", f"{use.battery_wh:g}",
    ])  # fmt: skip
    return known


def _row(impact: Impact, roles: list[str]) -> dict[str, Any]:
    return {
        "id": impact.name,
        "role": " · ".join("recommended: the knee" if role == RECOMMENDED else role for role in roles),
        "recommended": RECOMMENDED in roles,
        "energy": describe("energy_j", impact.energy),
        "kwh": impact.kwh_year.text(),
        "co2e": impact.co2e_kg_year.text(),
        "days": "" if impact.battery_days is None else impact.battery_days.text(),
        "always_on": "" if impact.battery_always_on_days is None else impact.battery_always_on_days.text(),
    }
