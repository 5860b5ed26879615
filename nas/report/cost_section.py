"""What report.html says of a search's own cost: where its time went, and its electricity by what it was spent on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nas.report.facts import StudyFacts
from nas.report.footprint import PURPOSES, seconds_of
from nas.report.spent import PHASES, phase_seconds
from nas.report.units import seconds_text

__all__ = ["cost_section"]

WORDS = {"training": "Training", "evaluation": "Evaluating networks", "measuring": "Measuring", "other": "Reading, choosing, writing"}


def cost_section(facts: StudyFacts) -> dict[str, Any]:
    """Rows of (part, time, share of the whole), rows of (purpose, time, kWh, kg CO2e), and how the latter were obtained."""
    search = facts.fronts[0].search
    return {"times": list(_times(facts)), "electricity": list(_electricity(search)), "obtained": _obtained(search)}


def _times(facts: StudyFacts) -> Iterator[tuple[str, str, float]]:
    spent = phase_seconds(facts.log)
    whole = sum(spent.values())
    for name, seconds in spent.items():
        yield PHASES[name], seconds_text(seconds), seconds / whole
    search = facts.fronts[0].search
    if "seconds" in search:
        yield "All runs of this study until this page was written, wall-clock", seconds_text(float(search["seconds"])), 0.0


def _electricity(search: Mapping[str, float | str]) -> Iterator[tuple[str, str, str, str]]:
    """Nothing where nobody counted."""
    if "cost_kwh" not in search:
        return
    for purpose in PURPOSES:
        seconds, kwh, co2e_kg = (float(search.get(f"cost_{purpose}_{unit}", 0.0)) for unit in ("s", "kwh", "co2e_kg"))
        if seconds:
            yield WORDS[purpose], seconds_text(seconds), f"{kwh:.3g}", f"{co2e_kg:.3g}"
    yield "In all", seconds_text(seconds_of(search)), f"{float(search['cost_kwh']):.3g}", f"{float(search['cost_co2e_kg']):.3g}"


def _obtained(search: Mapping[str, float | str]) -> str:
    if "cost_kwh" in search:
        return (
            f"{search['cost_source']}, scope: {search['cost_scope']}; {search['cost_method']}; electricity of {search['cost_grid']}. "
            "Until this page was written: front.json has the last figure."
        )
    source = str(search.get("cost_source", ""))
    return f"Electricity of the search: {source}." if source else ""
