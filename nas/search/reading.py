"""Trials of a study, each looked at once as soon as it is finished: a proposal would otherwise look at all of them anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from optuna.study import Study
from optuna.trial import FrozenTrial

__all__ = ["Reader"]

T = TypeVar("T")


class Reader(Generic[T]):
    """What a function says of each trial, in order. It keeps nothing that could not be read again from the study.

    Args:
        look: of one trial; called once for a trial before which all are finished, and each time for others.
    """

    def __init__(self, look: Callable[[FrozenTrial], T]) -> None:
        self._look = look
        self._kept: list[T] = []
        self._last: FrozenTrial | None = None

    def __call__(self, study: Study, but: int) -> list[T]:
        """Of all trials but number `but`, which values are being chosen for."""
        # As Optuna's own samplers read: from storage once between an ask and its tell, however many look.
        trials = study._get_trials(deepcopy=False, use_cache=True)
        count = len(self._kept)
        if count and (count > len(trials) or trials[count - 1] is not self._last):  # storages keep what is finished: it is another study
            self._kept, count = [], 0
        for trial in trials[count:]:
            if not trial.state.is_finished():
                break
            self._kept.append(self._look(trial))
            self._last = trial
        return self._kept + [self._look(trial) for trial in trials[len(self._kept) :] if trial.number != but]
