"""front.html: the fronts of a study, one a device, as one interactive page that needs no network. The home of plotly.

The page carries the figures as JSON and plotly.js packed with gzip; templates/front.js draws.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.errors import InputError
from nas.report.canvas import library
from nas.report.figures import accuracy_limits
from nas.report.front import CandidateRecord, FrontRecord
from nas.report.highlights import cost_of, highlights, target_words
from nas.report.pages import render
from nas.report.units import SHOWN, origin
from nas.target import Target

__all__ = ["MOST_OTHERS", "front_html"]

MOST_OTHERS = 2000
"""Candidates off the front that the page holds of a device: more cannot be told apart, and make it slow."""
DIGITS = 5
"""Significant digits of a figure: more than any of them is sure of."""
COSTS = ("latency_s", "energy_j", "macs", "params", "size_bytes", "peak_memory_bytes")
PRUNED = " Hollow diamonds are finalists that were pruned, which have no search accuracy."
ALWAYS = ("latency_s", "energy_j")
"""Costs that the page offers whatever the objectives are, and together in three dimensions."""


def front_html(fronts: Sequence[FrontRecord]) -> str:
    """The page: about 2 MB, most of it plotly.js.

    Raises:
        InputError: there is no front, or one has no cost or no accuracy.
    """
    if not fronts:
        raise InputError("a page of fronts needs at least one front")
    with library("plotly"):
        from plotly.offline import get_plotlyjs

        packed = base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
    first = fronts[0]
    devices = ", ".join(record.device for record in fronts)
    heading = f"{Path(first.data).name} on {devices}: accuracy against cost"
    metrics = [name for name in SHOWN if any(name in each.candidate.metrics for record in fronts for each in record.candidates)]
    data = {
        "devices": [_device(record) for record in fronts],
        "metrics": {name: _shown(name, fronts) for name in metrics},
        "in_space": "Drag to turn, scroll to come nearer. No member of the front is worse than another one in all three. Networks "
        "far from the front are outside. Bands are in the words of each point.",
        "bars": "Bars: one standard error of accuracy, 90 % band of cost. Search accuracy and test accuracy are never one line."
        + (PRUNED if any(each.pruned for record in fronts for each in record.candidates) else ""),
    }
    return render("front.html", {"title": f"{first.study}: fronts", "heading": heading, "data": data, "plotly": packed})


def _shown(name: str, fronts: Sequence[FrontRecord]) -> dict[str, object]:
    """How a metric is written, and where it comes from."""
    found = [metric for record in fronts for each in record.candidates if (metric := each.candidate.metrics.get(name)) is not None]
    sources = sorted({origin(metric) for metric in found})
    shown = SHOWN[name]
    axis = shown.axis if shown.label.startswith(tuple(sources)) else f"{shown.axis} ({', '.join(sources)})"
    return {"label": shown.label, "unit": shown.unit, "percent": shown.percent, "axis": axis, "sources": ", ".join(sources)}


def _device(record: FrontRecord) -> dict[str, Any]:
    """A device's candidates as columns, and what is said of them."""
    kept = _thinned(record)
    best = highlights(record).get("knee")
    metrics = [name for name in SHOWN if any(name in each.candidate.metrics for each in kept)]
    wanted = {cost_of(record), *ALWAYS, *record.objectives}
    return {
        "device": record.device,
        "target": target_words(record),
        "members": len(record.front),
        "found": f"{record.study}, {record.space}: {record.found}",
        "thinned": f"{len(kept):,} of {record.total:,} candidates are drawn: those off the front are thinned evenly."
        if len(kept) < record.total
        else "",
        "limits": [_rounded(end) for end in accuracy_limits(record)],
        "costs": [name for name in COSTS if name in wanted and name in metrics],
        "in_space": all(name in metrics for name in ALWAYS),
        "absent": _absent(record, metrics),
        "ids": [each.id for each in kept],
        "titles": [each.title for each in kept],
        "notes": [each.note for each in kept],
        "targets": [_words(each.candidate.target) for each in kept] if len({each.candidate.target for each in kept}) > 1 else [],
        "marks": [_marks(each, best) for each in kept],
        "metrics": {name: _column(kept, name) for name in metrics},
    }


def _absent(record: FrontRecord, metrics: Sequence[str]) -> str:
    """What the page cannot show, and why."""
    if not record.candidates or "energy_j" in metrics:
        return ""
    return f"No energy on {record.device} is known, so there is neither accuracy against energy nor the front in three dimensions."


def _words(target: Target) -> str:
    """A target among several of one device."""
    return f"{target.runtime}, {target.precision}, {target.threads} thread{'s' if target.threads > 1 else ''}"


def _marks(each: CandidateRecord, knee: CandidateRecord | None) -> int:
    """Bits, in the order in which the page names them; the last one is for what is outside the constraints."""
    is_knee = knee is not None and each.id == knee.id
    return each.on_front + 2 * each.finalist + 4 * each.tied + 8 * is_knee + 16 * each.pruned + 32 * (not each.feasible)


def _thinned(record: FrontRecord) -> list[CandidateRecord]:
    """All that matters, and the others evenly from the cheapest to the dearest."""
    matters = [each for each in record.candidates if each.on_front or each.finalist]
    rest = [each for each in record.candidates if not (each.on_front or each.finalist)]
    if len(rest) > MOST_OTHERS:
        cost = cost_of(record)
        rest.sort(key=lambda each: (each.value(cost) or 0.0, each.id))
        rest = [rest[index * (len(rest) - 1) // (MOST_OTHERS - 1)] for index in range(MOST_OTHERS)]
    return [*matters, *rest]


def _column(records: Sequence[CandidateRecord], name: str) -> dict[str, list[float | str | None]]:
    """A metric of all candidates, in the unit that is shown."""
    found = [each.candidate.metrics.get(name) for each in records]
    column: dict[str, list[float | str | None]] = {}
    for part in ("value", "std", "low", "high"):
        values = [None if metric is None else getattr(metric, part) for metric in found]
        column[part] = [None if value is None else _rounded(SHOWN[name].number(value)) for value in values]
    sources = [None if metric is None else metric.source + (f" ({metric.scope})" if metric.scope else "") for metric in found]
    return {**column, "source": list(sources)}


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
