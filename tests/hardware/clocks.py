"""A clock and a machine that tests move."""

from __future__ import annotations

from collections.abc import Callable

from nas.hardware.device_state import DeviceState
from nas.hardware.measure import Machine


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


class FakeMachine(Machine):
    """Its clock is a fake one. `states` are given out in turn, the last one for ever."""

    def __init__(self, clock: FakeClock, *states: DeviceState) -> None:
        self.clock = clock
        self.states = list(states)
        self.slept_ns = 0
        self.waited_s: list[float] = []

    def now_ns(self) -> int:
        return self.clock.now_ns

    def asleep_ns(self) -> int:
        return self.slept_ns

    def state(self) -> DeviceState:
        if not self.states:
            return DeviceState()
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def wait(self, seconds: float) -> None:
        self.waited_s.append(seconds)
        self.clock.now_ns += round(seconds * 1e9)
