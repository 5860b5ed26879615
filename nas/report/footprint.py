"""What a search itself costs: seconds, kWh and CO2 equivalent by CodeCarbon in offline mode, split by what they were spent on.

CodeCarbon counts the whole machine: processor, memory and GPUs. Where the processor has no counter that may be read it assumes watts of
its class times the load; the record says which. A search never fails for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Protocol

from nas.errors import DataError, MissingExtraError
from nas.events import Event, Listener
from nas.report.grid import Grid, load_grid

__all__ = ["PURPOSES", "Footprint", "Spent", "Tracker", "codecarbon_tracker", "seconds_of", "track"]

PURPOSES = ("training", "evaluation", "measuring", "other")
"""Other is reading data, choosing and writing the record."""
_PHASES: Mapping[str, str] = {
    "supernet": "training", "finalists": "training", "search": "evaluation", "measure": "measuring", "verify": "measuring",
    "record": "other",
}  # fmt: skip
SCOPE = "this machine: processor, memory, GPUs"
_MODELLED = "modelled"
_METHODS: Mapping[str, str] = {
    "intel_rapl": "processor by its energy counter",
    "cpu_load": "no counter may be read: watts of the processor's class times its load",
    "constant": "no counter may be read: constant watts of the processor's class",
}
_EVERY_S = 15.0  # CodeCarbon's own default


@dataclass(frozen=True, slots=True)
class Spent:
    """What something cost."""

    seconds: float = 0.0
    kwh: float = 0.0
    co2e_kg: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.seconds + other.seconds, self.kwh + other.kwh, self.co2e_kg + other.co2e_kg)


class Tracker(Protocol):
    """What is used of CodeCarbon's tracker."""

    def start_task(self, task_name: str) -> None: ...

    def stop_task(self, task_name: str) -> Any: ...

    def stop(self) -> Any: ...


def codecarbon_tracker(grid: Grid) -> Tracker:
    """CodeCarbon offline, of the whole machine; writes nothing and says nothing.

    Raises:
        ImportError: it is not installed.
    """
    from codecarbon import OfflineEmissionsTracker

    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)  # what it says before it has read `log_level`
    tracker: Tracker = OfflineEmissionsTracker(
        country_iso_code="USA" if grid.code == "WORLD" else grid.code, force_carbon_intensity_g_co2e_kwh=1e3 * grid.kg_per_kwh,
        tracking_mode="machine", measure_power_secs=_EVERY_S, output_methods=[], allow_multiple_runs=True, log_level="critical",
    )  # fmt: skip
    return tracker


class Footprint:
    """Adds up what a search costs, by purpose. It hears of phases by the search's events."""

    def __init__(self, grid: Grid | None, open_tracker: Callable[[Grid], Tracker] = codecarbon_tracker) -> None:
        self._grid = grid
        self._spent = dict.fromkeys(PURPOSES, Spent())
        self._purpose, self._since, self._number = "other", time.monotonic(), 0
        self._tracker: Tracker | None = None
        self._why = "no carbon data are installed" if grid is None else ""
        self._mode = ""
        if grid is not None:
            try:
                self._tracker = open_tracker(grid)
                self._tracker.start_task(self._task())
                self._mode = _mode(self._tracker)
            except Exception as exc:  # whatever is wrong with it, the search must go on
                self._fail(exc)

    def hearing(self, listener: Listener) -> Listener:
        """A listener that passes events on, and switches the purpose at each phase."""

        def listen(event: Event) -> None:
            if event.kind == "phase":
                purpose = _PHASES.get(str(event.fields.get("phase")), self._purpose)
                if purpose != self._purpose:
                    self._close()
                    self._purpose = purpose
                    self._open()
            listener(event)

        return listen

    def spent(self) -> dict[str, Spent]:
        """Until now, by purpose."""
        self._close()
        self._open()
        return dict(self._spent)

    def stop(self) -> None:
        """Ends the tracker. Twice does nothing."""
        self._close()
        if self._tracker is not None:
            try:
                self._tracker.stop()
            except Exception as exc:
                self._fail(exc)
            self._tracker = None

    def record(self, earlier: Mapping[str, float | str]) -> dict[str, float | str]:
        """For the record of a study: every kWh with its scope, source and method. Where a run could not be counted the source says so; what
        the others cost is kept.

        Args:
            earlier: the record of former runs of the study, which is added; empty where this is the first.
        """
        total = {name: spent + _earlier(earlier, name) for name, spent in self.spent().items()}
        found: dict[str, float | str] = {f"cost_{name}_s": spent.seconds for name, spent in total.items()}
        whole = sum(total.values(), Spent())
        missed = self._why or ("" if earlier.get("cost_source", _MODELLED) == _MODELLED else "earlier runs were not all counted")
        if missed and not whole.kwh:
            return {**found, "cost_source": f"unknown: {missed}"}
        found |= {f"cost_{name}_kwh": spent.kwh for name, spent in total.items()}
        found |= {f"cost_{name}_co2e_kg": spent.co2e_kg for name, spent in total.items()}
        return {
            **found, "cost_kwh": whole.kwh, "cost_co2e_kg": whole.co2e_kg, **self._obtained(earlier),
            "cost_source": f"{_MODELLED}, at least this much: {missed}" if missed else _MODELLED,
        }  # fmt: skip

    def _obtained(self, earlier: Mapping[str, float | str]) -> dict[str, float | str]:
        """Scope, method and grid: as earlier runs had them where this one could not be counted."""
        if self._grid is None or (self._why and "cost_method" in earlier):
            return {name: earlier[name] for name in ("cost_scope", "cost_method", "cost_grid") if name in earlier}
        return {
            "cost_scope": SCOPE,
            "cost_method": f"CodeCarbon {metadata.version('codecarbon')}, {_METHODS.get(self._mode, self._mode or 'unknown mode')}",
            "cost_grid": f"{self._grid.name} {self._grid.year}, {1e3 * self._grid.kg_per_kwh:.3g} g CO2e/kWh, {self._grid.source}",
        }

    def _task(self) -> str:
        return f"{self._purpose} {self._number}"

    def _open(self) -> None:
        self._since = time.monotonic()
        self._number += 1
        if self._tracker is not None:
            try:
                self._tracker.start_task(self._task())
            except Exception as exc:
                self._fail(exc)

    def _close(self) -> None:
        seconds, kwh, co2e_kg = time.monotonic() - self._since, 0.0, 0.0
        self._since = time.monotonic()
        if self._tracker is not None:
            try:
                data = self._tracker.stop_task(self._task())
                kwh, co2e_kg = float(data.energy_consumed), float(data.emissions)
            except Exception as exc:
                self._fail(exc)
        self._spent[self._purpose] += Spent(seconds, kwh, co2e_kg)

    def _fail(self, exc: Exception) -> None:
        self._tracker, self._why = None, f"CodeCarbon failed: {type(exc).__name__}: {exc}"


@contextmanager
def track(code: str, on_event: Listener, open_tracker: Callable[[Grid], Tracker] = codecarbon_tracker) -> Iterator[Footprint]:
    """A footprint that is ended whatever happens.

    Args:
        code: country of the electricity, see `nas.report.grid.load_grid`.
        on_event: warned where CodeCarbon is not there: then seconds alone are counted.

    Raises:
        UnknownNameError: no such country.
    """
    grid = None
    try:
        grid = load_grid(code)
    except (MissingExtraError, DataError) as exc:
        on_event(Event("warning", f"what the search itself costs is not counted: {exc}"))
    footprint = Footprint(grid, open_tracker)
    try:
        yield footprint
    finally:
        footprint.stop()


def seconds_of(record: Mapping[str, float | str]) -> float:
    """All seconds of a record as `Footprint.record` makes it, whatever they were spent on."""
    return sum(float(record.get(f"cost_{purpose}_s", 0.0)) for purpose in PURPOSES)


def _earlier(record: Mapping[str, float | str], purpose: str) -> Spent:
    return Spent(*(float(record.get(f"cost_{purpose}_{unit}", 0.0)) for unit in ("s", "kwh", "co2e_kg")))


def _mode(tracker: Tracker) -> str:
    """How CodeCarbon finds the processor's watts; nothing where it does not tell."""
    modes = [str(mode) for hardware in getattr(tracker, "_hardware", ()) if (mode := getattr(hardware, "_mode", None))]
    return modes[0] if modes else ""
