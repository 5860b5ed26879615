"""Where a study's time went, as its log tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

__all__ = ["PHASES", "phase_seconds"]

PHASES = {
    "measure": "Measuring the device",
    "supernet": "Training the supernet",
    "search": "Searching",
    "verify": "Measuring near the front",
    "int8": "Quantising networks",
    "finalists": "Fine-tuning, testing and exporting finalists",
}
"""Parts of a search in their order, for people."""


def phase_seconds(log: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Wall-clock of each of `PHASES` that took any, seconds; what lies between two runs of a study, or before their first phase, does not
    count.

    Args:
        log: events of log.jsonl, oldest first: "begin" begins a run, "phase" a part of it, "done" ends it.
    """
    spent = dict.fromkeys(PHASES, 0.0)
    phase: str | None = None
    before: datetime | None = None
    for event in log:
        try:
            now = datetime.fromisoformat(str(event["time"]))
        except (KeyError, ValueError):
            continue
        kind = event.get("kind")
        if phase is not None and before is not None and kind != "begin":
            # A trial ends an evaluation, whatever was announced last: after measuring the search goes on without a word.
            spent["search" if kind == "trial" else phase] += max(0.0, (now - before).total_seconds())
        if kind in ("begin", "done"):
            phase = None
        elif kind == "phase":
            phase = str(event.get("phase")) if event.get("phase") in PHASES else None
        before = now
    return {name: seconds for name, seconds in spent.items() if seconds > 0}
