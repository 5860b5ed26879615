"""What a study has cost: kept while a search goes on, so that a run that is killed has not been for nothing in the record either."""

from __future__ import annotations

import time
from contextlib import suppress

from nas.events import Event, Listener
from nas.report.footprint import Footprint, seconds_of
from nas.report.units import seconds_text
from nas.search import storage

__all__ = ["Ledger"]

EVERY_S = 30.0


class Ledger:
    """Seconds and energy of this run and of those before. The seconds are the footprint's, so that both are of the same time.

    Args:
        footprint: of this run.

    Attributes:
        study: that keeps them.
        before_s: seconds of the runs before this one.
    """

    def __init__(self, study: storage.Study, footprint: Footprint) -> None:
        self.study, self._footprint = study, footprint
        self.before_s, self._cost = storage.spent(study), storage.cost(study)
        self._kept_at = time.monotonic()

    def words(self, budget_s: float | None) -> tuple[Event, ...]:
        """What the runs before took of a time budget, which is for all runs."""
        if budget_s is None or not self.before_s:
            return ()
        text = f"earlier runs took {seconds_text(self.before_s)} of --time-budget {seconds_text(budget_s)}"
        if self.before_s < budget_s:
            return (Event("info", text),)
        return (Event("warning", f"{text}: --resume with a longer one evaluates and trains more"),)

    def so_far(self) -> tuple[float, dict[str, float | str]]:
        """Seconds, and the cost as a record says it (`Footprint.record`), of all runs."""
        cost = self._footprint.record(self._cost)
        return self.before_s + seconds_of(cost) - seconds_of(self._cost), cost

    def keep(self) -> tuple[float, dict[str, float | str]]:
        """Keeps `so_far`, and returns it."""
        seconds, cost = self.so_far()
        storage.keep_spent(self.study, seconds, cost)
        self._kept_at = time.monotonic()
        return seconds, cost

    def hearing(self, listener: Listener) -> Listener:
        """A listener that passes events on, and keeps what was spent every half minute."""

        def listen(event: Event) -> None:
            if time.monotonic() > self._kept_at + EVERY_S:
                self._kept_at = time.monotonic()
                with suppress(Exception):  # a storage that is away for a while ends no training: the next time may do
                    self.keep()
            listener(event)

        return listen
