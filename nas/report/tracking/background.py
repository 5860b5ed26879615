"""Sending in the background: one thread, woken when there is something to send, that tries again with growing pauses.

What is to be sent lies in a study's files, so nothing piles up in memory while a server is down, and nothing is lost with the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from nas.report.tracking.connection import Connection, TrackingError

__all__ = ["Background", "Patience"]

PAUSE_S = 2.0
"""Shortest time between two sendings: points in between go together."""
LONGEST_PAUSE_S = 60.0
RACES = 3
"""Times that the last sending to a database is tried again at once."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the end of a search waits for what is still to be sent, seconds.

    Attributes:
        silence_s: since the last answer, or since the end where the last try did not fail: it was idle then, not silent. A server that
            failed, and was silent for as long before the end, is not waited for.
        least_s, most_s: of the wait, whatever happens.
    """

    silence_s: float = 10.0
    least_s: float = 0.5
    most_s: float = 60.0


LOCAL = Patience(silence_s=60.0, most_s=120.0)
"""For a database on this machine: making its tables takes seconds on a busy one."""


class Background:
    """Calls `send` from a thread of its own. A failure is tried again after 2, 4, ... 60 s; a refusal is not.

    Args:
        connection: that `send` uses; its answers show that the other side is alive.
        send: sends all that there is to send; called again after a failure, with that still to be sent.
    """

    def __init__(self, connection: Connection, send: Callable[[], object]) -> None:
        self._connection = connection
        self._send = send
        self._changed = threading.Condition()
        self._wanted = self._closing = False
        self._error: TrackingError | None = None
        self._thread = threading.Thread(target=self._run, name="nas-tracking", daemon=True)  # a silent server holds no process up

    def wake(self) -> None:
        """There is something to send. Never waits."""
        with self._changed:
            self._wanted = True
            if not self._thread.is_alive() and self._thread.ident is None:
                self._thread.start()
            self._changed.notify_all()

    def close(self, patience: Patience | None = None) -> TrackingError | None:
        """Sends what is left and ends the thread. A server that does not answer is left alone after a bounded time.

        Returns:
            why something was not sent; None where everything was.
        """
        allowed = patience or (Patience() if self._connection.is_server else LOCAL)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is None:  # never woken
            return None
        closed = time.monotonic()
        while self._thread.is_alive():
            now = time.monotonic()
            since = self._connection.answered_at if self._error else max(self._connection.answered_at, closed)
            silent = now > since + allowed.silence_s and now > closed + allowed.least_s
            if silent or now > closed + allowed.most_s:
                return self._error or TrackingError(f"tracking to {self._connection.shown} failed: no answer for {now - closed:.0f} s")
            self._thread.join(0.05)
        return self._error

    def _run(self) -> None:
        pause_s, races = PAUSE_S, 0
        while self._next():
            try:
                self._send()
            except TrackingError as exc:
                self._error = exc
                if exc.refused:
                    return
                with self._changed:
                    if self._closing:
                        if self._connection.is_server or races >= RACES:
                            return
                        races += 1  # a database of this machine: another process wrote the same at the same moment
                        self._wanted = True
                        continue
                    self._wanted = True
                    self._changed.wait_for(lambda: self._closing, pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            except Exception as exc:  # whatever it is, it is told where the search ends, and never ends it
                self._error = TrackingError(f"tracking to {self._connection.shown} failed: {type(exc).__name__}: {exc}", refused=True)
                return
            else:
                self._error, pause_s = None, PAUSE_S
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, PAUSE_S)

    def _next(self) -> bool:
        """Waits until there is something to send; False when there never will be again."""
        with self._changed:
            self._changed.wait_for(lambda: self._wanted or self._closing)
            wanted, self._wanted = self._wanted, False
            return wanted
