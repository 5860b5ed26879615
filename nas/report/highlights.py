"""What people ask of a front first: the fastest, the knee, the most accurate. One function says what they are chosen from."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from nas.errors import InputError
from nas.metrics import Objective
from nas.report.front import CandidateRecord, FrontRecord
from nas.search.judging import VALIDATION, judged_by, unbeaten
from nas.search.pareto import knee as knee_of

__all__ = ["ACCURACY", "Choice", "Highlight", "choice", "cost_of", "highlights", "knee", "target_words"]

Highlight = Literal["fastest", "knee", "most accurate"]
ACCURACY = "accuracy_search"
"""The accuracy that decides the front of a search."""
LATENCY = "latency_s"
"""The fastest is so by this, which every candidate has."""


def cost_of(record: FrontRecord) -> str:
    """The cost that a front is shown over: latency where it is an objective, else the first cost.

    Raises:
        InputError: the front has no cost or no accuracy among its objectives.
    """
    costs = [name for name in record.objectives if not name.startswith("accuracy")]
    if not costs or ACCURACY not in record.objectives:
        raise InputError(f"a picture of a front needs an accuracy and a cost, its objectives are {', '.join(record.objectives)}")
    return LATENCY if LATENCY in costs else costs[0]


def knee(members: Sequence[CandidateRecord], cost: str, accuracy: str = ACCURACY) -> CandidateRecord:
    """The member farthest below the line through the front's ends (`nas.search.pareto.knee`), over the logarithm of the cost: costs spread
    over decades.

    Raises:
        InputError: there is no member.
    """
    if not members:
        raise InputError("a front without members has no knee")
    tiny = np.finfo(float).tiny
    points = [(-(each.value(accuracy) or 0.0), math.log(max(each.value(cost) or 0.0, tiny))) for each in members]
    return members[knee_of(np.array(points))]


@dataclass(frozen=True, slots=True)
class Choice:
    """Networks that somebody may take, and how they are told apart.

    Attributes:
        record: the front that they are of.
        able: members of the search's front, and pruned finalists; all that can be told apart by cost alone.
        members: those of `able` that are compared by accuracy. Together they are a front: none beats another.
        accuracy: the accuracy that compares them, one that all members have from one source.
        untrained: members of the search's front that are not compared, for they were not trained.
    """

    record: FrontRecord
    able: tuple[CandidateRecord, ...]
    members: tuple[CandidateRecord, ...]
    accuracy: str
    untrained: tuple[CandidateRecord, ...] = ()

    def of(self, role: Highlight) -> CandidateRecord:
        """Who has a role, for whatever asks. The fastest is that of all that are able, whatever cost the front is over, and of equal ones
        the most accurate; the most accurate is that of the members, and of equal ones the fastest; the knee is one of the members.

        Raises:
            InputError: there is nothing to choose from.
        """
        if not self.members:
            raise InputError(f"the front of {self.record.study} has no members")
        if role == "knee":
            return knee(self.members, cost_of(self.record), self.accuracy)
        if role == "fastest":
            return min(self.able, key=lambda each: (each.value(LATENCY) or 0.0, -(each.value(self.accuracy) or 0.0)))
        return max(self.members, key=lambda each: (each.value(self.accuracy) or 0.0, -(each.value(LATENCY) or 0.0)))

    @property
    def words(self) -> str:
        """How it was chosen, a sentence; empty where it is the search's front by the search's accuracy."""
        if self.accuracy == ACCURACY:
            return ""
        pruned, left = sum(each.pruned for each in self.able), len(self.untrained)
        text = "chosen by validation accuracy, for pruned networks have no search accuracy, "
        text += f"among {len(self.able) - left} that are trained, {pruned} of them pruned"
        return f"{text}; {left} of the front {'is' if left == 1 else 'are'} not trained, so not compared" if left else text


def choice(record: FrontRecord, among: Collection[CandidateRecord] | None = None) -> Choice:
    """What everything that answers "which model do I take" chooses from: the front, and the finalists that were pruned.

    Without pruned ones it is the front by accuracy_search. Pruned ones have none: as soon as there is one, trained networks are compared
    by accuracy_validation, as it was decided that it earns its place (`nas.search.judging`), and a finalist that it beats is no member.
    Members of the front that were not trained have only the supernet's accuracy, which says nothing beside a trained network's.

    Args:
        among: nothing else is able, e.g. what meets a bound; None for everything.
    """
    kept = None if among is None else {each.id for each in among}
    costs = [Objective(name, "minimize") for name in record.objectives if not name.startswith("accuracy")]
    needed = {each.metric for each in judged_by(costs)}
    trained = [each for each in record.finalists if needed <= each.candidate.metrics.keys() and (each.pruned or each.on_front)]
    found = (*record.front, *(each for each in trained if each.pruned and not each.on_front))
    able = tuple(each for each in found if kept is None or each.id in kept)
    if not any(each.pruned for each in able):
        return Choice(record, able, able, ACCURACY)
    names = {each.id for each in able}
    compared = [each for each in trained if each.id in names]
    marks = unbeaten([each.candidate for each in compared], costs)
    members = tuple(each for each, mark in zip(compared, marks, strict=True) if mark)
    names -= {each.id for each in compared}
    return Choice(record, able, members, VALIDATION.metric, tuple(each for each in able if each.id in names))


def highlights(record: FrontRecord) -> dict[Highlight, CandidateRecord]:
    """The fastest, the knee and the most accurate of what can be chosen; nothing of an empty front. One network can be two of them."""
    found = choice(record)
    if not found.members:
        return {}
    return {role: found.of(role) for role in get_args(Highlight)}


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
