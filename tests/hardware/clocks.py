"""A clock that tests move."""

from __future__ import annotations

from collections.abc import Callable


class FakeClock:
    """A clock that runs move; drift makes everything slower as time goes by."""

    def __init__(self, drift: float = 0.0) -> None:
        self.now_ns = 0
        self.drift = drift

    def perf_counter_ns(self) -> int:
        return self.now_ns

    def run_of(self, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.now_ns += round(1e9 * seconds * (1 + self.drift * self.now_ns * 1e-9))

        return run
