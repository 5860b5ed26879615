"""Readings from a file, for tests and for looking at how a measurement would have gone.

This file also runs on the device, without the rest of the package: Python 3.9 and the standard library (see `transports.bundle`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nas.errors import MeterError
from nas.hardware.meters.base import Clock, EnergyWindow

__all__ = ["Replay"]


class Replay:
    """Gives out recorded watts, a window each; after the last one it begins again.

    Args:
        argument: a JSON file {"scope": str, "watts": [..]}; an item that is a text is an error with that message.
    """

    name = "replay"
    resolution_s = 0.001
    most_w: float | None = None
    is_automatic = False

    def __init__(self, argument: str = "", clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._why = "" if argument else "replay needs a file of readings: replay:FILE"
        self.scope = "recorded"
        self._watts: list[Any] = []
        self._next = 0
        self._start_s: float | None = None
        if argument:
            self._load(Path(argument))

    def _load(self, path: Path) -> None:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            self.scope, self._watts = str(data["scope"]), list(data["watts"])
        except (OSError, ValueError, KeyError, TypeError) as exc:
            self._why = f'{path} is no {{"scope": str, "watts": [..]}}: {exc!r}'
        if not self._why and not self._watts:
            self._why = f"{path} has no readings"

    def self_test(self) -> None:
        """Whether the file could be read."""
        if self._why:
            raise MeterError(self._why)

    def align(self, load: Callable[[float], object], rest: Callable[[float], object]) -> None:
        """Recorded readings have no clock."""
        del load, rest

    def begin(self) -> None:
        """Notes the time."""
        self.self_test()
        self._start_s = self._clock.now_s()

    def end(self) -> EnergyWindow:
        """The next reading, times the seconds that the window took."""
        if self._start_s is None:
            raise MeterError("replay: a window that was not begun cannot end")
        seconds = self._clock.now_s() - self._start_s
        self._start_s = None
        watts = self._watts[self._next % len(self._watts)]
        self._next += 1
        if isinstance(watts, str):
            raise MeterError(f"replay: {watts}")
        return EnergyWindow(float(watts) * seconds, seconds, 2)

    def close(self) -> None:
        """Nothing is held."""
