"""Finds an energy meter by name: an entry point of `nas.meters`, and after a colon what it needs to know.

This file also runs on the device, without the rest of the package: Python 3.9 and the standard library (see `transports.bundle`).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from types import MappingProxyType
from typing import Any, cast

from nas.errors import InputError, MeterError, NasError, UnknownNameError
from nas.hardware.meters.base import EnergyMeter

__all__ = ["AUTO", "MeterStatus", "load_meter", "meter_names", "meter_status", "open_meter"]

AUTO = "auto"
"""Asks for the first meter that works and covers the processor."""

# On a device nothing is installed, so there are no entry points: what the bundle holds. What sees the whole board comes first.
_BUNDLED: Mapping[str, str] = MappingProxyType(
    {
        "hwmon": "nas.hardware.meters.hwmon:Hwmon",
        "pmic": "nas.hardware.meters.pmic:Pmic",
        "rapl": "nas.hardware.meters.rapl:Rapl",
        "nvml": "nas.hardware.meters.nvml:Nvml",
        "csv": "nas.hardware.meters.csv_log:CsvLog",
        "replay": "nas.hardware.meters.replay:Replay",
    }
)


@dataclass(frozen=True)
class MeterStatus:
    """A meter on this machine.

    Attributes:
        works: whether its self-test passes.
        why: where it does not: the reason, and what mends it.
        is_automatic: see `EnergyMeter`.
    """

    name: str
    scope: str
    works: bool
    why: str
    is_automatic: bool


def _known() -> dict[str, str]:
    points: Any = metadata.entry_points()
    # Python 3.9 gives a mapping.
    found = points.select(group="nas.meters") if hasattr(points, "select") else points.get("nas.meters", ())
    return {**_BUNDLED, **{point.name: point.value for point in found}}


def meter_names() -> list[str]:
    """Names that `load_meter` takes, in the order in which `AUTO` tries them."""
    return list(_known())


def load_meter(spec: str) -> EnergyMeter:
    """A meter by name and argument, e.g. "rapl", "hwmon:hwmon2", "csv:power.csv". It need not work here: `self_test` says.

    Raises:
        UnknownNameError: no such meter.
        InputError: an argument that it does not take.
        MeterError: a plug-in that does not load.
    """
    name, _, argument = spec.partition(":")
    known = _known()
    if name not in known:
        raise UnknownNameError("energy meter", name, known)
    module, _, attribute = known[name].partition(":")
    with _of_plugin(f"energy meter {name} does not load"):
        made = getattr(importlib.import_module(module), attribute)
        try:
            return cast("EnergyMeter", made(argument))
        except MeterError as exc:
            raise InputError(str(exc)) from exc


@contextmanager
def _of_plugin(what: str) -> Iterator[None]:
    """Tells whatever a plug-in raises as a MeterError: its errors have no common class, and other meters may serve."""
    try:
        yield
    except NasError:
        raise
    except Exception as exc:
        raise MeterError(f"{what}: {type(exc).__name__}: {exc}") from exc


def _self_test(meter: EnergyMeter) -> None:
    with _of_plugin("its self-test fails"):
        meter.self_test()


def meter_status(spec: str) -> MeterStatus:
    """Whether a meter works here, and why not. One that does not load has no scope.

    Raises:
        UnknownNameError, InputError: as `load_meter`.
    """
    try:
        meter = load_meter(spec)
    except MeterError as exc:
        return MeterStatus(spec, "", False, str(exc), False)
    why = ""
    try:
        _self_test(meter)
    except MeterError as exc:
        why = str(exc)
    finally:
        meter.close()
    return MeterStatus(meter.name, meter.scope, not why, why, meter.is_automatic)


def open_meter(spec: str) -> EnergyMeter:
    """The meter of that name, self-tested; for `AUTO` the first that works and is automatic.

    Raises:
        MeterError: it does not work here, or none does: says why, meter by meter.
        UnknownNameError, InputError: as `load_meter`.
    """
    reasons = []
    for name in meter_names() if spec == AUTO else [spec]:
        try:
            meter = load_meter(name)
        except MeterError as exc:
            reasons.append(f"{name}: {exc}")
            continue
        if spec == AUTO and not meter.is_automatic:
            continue
        try:
            _self_test(meter)
            return meter
        except MeterError as exc:
            meter.close()
            reasons.append(f"{name}: {exc}")
    raise MeterError("no energy meter works here: " + "; ".join(reasons))
