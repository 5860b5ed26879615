"""The members of a front that people ask for first: the fastest, the knee, the most accurate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from nas.errors import InputError
from nas.report.front import CandidateRecord, FrontRecord
from nas.search.pareto import knee as knee_of

__all__ = ["ACCURACY", "Highlight", "cost_of", "highlights", "knee", "target_words"]

Highlight = Literal["fastest", "knee", "most accurate"]
ACCURACY = "accuracy_search"
"""The accuracy that decides a front."""


def cost_of(record: FrontRecord) -> str:
    """The cost that a front is shown over: latency where it is an objective, else the first cost.

    Raises:
        InputError: the front has no cost or no accuracy among its objectives.
    """
    costs = [name for name in record.objectives if not name.startswith("accuracy")]
    if not costs or ACCURACY not in record.objectives:
        raise InputError(f"a picture of a front needs an accuracy and a cost, its objectives are {', '.join(record.objectives)}")
    return "latency_s" if "latency_s" in costs else costs[0]


def knee(members: Sequence[CandidateRecord], cost: str) -> CandidateRecord:
    """The member farthest below the line through the front's ends (`nas.search.pareto.knee`), over the logarithm of the cost: costs spread
    over decades.

    Raises:
        InputError: there is no member.
    """
    if not members:
        raise InputError("a front without members has no knee")
    tiny = np.finfo(float).tiny
    points = [(-(each.value(ACCURACY) or 0.0), math.log(max(each.value(cost) or 0.0, tiny))) for each in members]
    return members[knee_of(np.array(points))]


def highlights(record: FrontRecord) -> dict[Highlight, CandidateRecord]:
    """The fastest (cheapest where latency is no objective), the knee and the most accurate of the front; nothing of an empty one. One
    network can be two of them."""
    members, cost = record.front, cost_of(record)
    if not members:
        return {}
    return {
        "fastest": min(members, key=lambda each: (each.value(cost) or 0.0, -(each.value(ACCURACY) or 0.0))),
        "knee": knee(members, cost),
        "most accurate": max(members, key=lambda each: (each.value(ACCURACY) or 0.0, -(each.value(cost) or 0.0))),
    }


def target_words(record: FrontRecord) -> str:
    """Device, runtimes, precisions and threads that the figures of a front are for; several where it chooses among targets."""
    targets = {each.candidate.target for each in record.candidates}
    if not targets:
        return record.device
    runtimes = {each.runtime if each.runtime_version == "unknown" else f"{each.runtime} {each.runtime_version}" for each in targets}
    threads = sorted({each.threads for each in targets})
    words = (sorted(runtimes), sorted({each.precision for each in targets}), [*map(str, threads)])
    joined = [" or ".join(filter(None, (", ".join(each[:-1]), each[-1]))) for each in words]
    return f"{record.device}, {', '.join(joined)} thread{'' if threads == [1] else 's'}"
