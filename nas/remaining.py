"""What a search has still to do: all of it, or where it goes on what its storage and its folder do not have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.precision import on_every_target
from nas.preparation import Prepared
from nas.pruning import left_to_prune
from nas.recording import infeasible, select_all
from nas.rounds import Searched, scored_anew
from nas.schedule import FURTHER, measurings
from nas.search import storage
from nas.search.kept import whole_finalist

__all__ = ["Left"]


@dataclass(frozen=True, slots=True)
class Left:
    """What a search has still to do.

    Attributes:
        evaluations, finalists: of all devices; what finalists are pruned to counts as finalists.
        spent_s: of the time budget.
        measurings: of networks near the fronts, at most.
    """

    evaluations: int
    finalists: int
    spent_s: float = 0.0
    measurings: int = 0

    @classmethod
    def of(cls, prepared: Prepared, studies: Sequence[storage.Study], folder: Path, spent_s: float = 0.0) -> Left:
        """Of a search by its devices' studies; finalists are those of today's front once no evaluation is left to change it.

        Args:
            folder: of the study, with the files of its finalists.
        """
        config, evaluations, pauses = prepared.config, 0, 0
        for number, (device, study) in enumerate(zip(prepared.devices, studies, strict=True)):
            done = len(storage.evaluated(study))
            wanted = config.trials
            if number:  # it begins when it is told what others found; until then it has what --warm-start gave it
                wanted = math.ceil(FURTHER * config.trials) + int(study.user_attrs.get(storage.TOLD, done))
            evaluations += max(0, wanted - done)
            if config.verify and device.profile is not None:
                pauses += measurings(done, wanted, "verified" in study.user_attrs)
        most = config.finalists * (1 if config.prune is None else 2) * len(studies)
        return cls(evaluations, most if evaluations else _finalists(prepared, studies, folder), spent_s, pauses)


def _finalists(prepared: Prepared, studies: Sequence[storage.Study], folder: Path) -> int:
    """Of what was evaluated, those that are not made yet, and what is still to be pruned of them."""
    pairs = list(zip(prepared.devices, studies, strict=True))
    searched = [Searched(device, study, scored_anew(prepared, device, study, storage.evaluated(study))) for device, study in pairs]
    done = on_every_target(searched, None, lambda _: None, lambda: False)
    served = [row for row, (device, _) in enumerate(pairs) if infeasible(prepared, device, done[row]) is None]
    missing = 0
    for row, selection in zip(served, select_all(prepared, [done[row] for row in served]), strict=True):
        device, study = pairs[row]
        kept = [whole_finalist(study, candidate, folder) for candidate in selection.finalists]
        made = {each.candidate.id: each for each in kept if each is not None}
        missing += len(selection.finalists) - len(made) + left_to_prune(prepared, device, study, selection.finalists, made, folder)
    return missing
