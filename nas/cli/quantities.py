"""Quantities with units, as people type them, to SI."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from types import MappingProxyType

from nas.errors import InputError

__all__ = ["parse"]

UNITS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "latency": MappingProxyType({"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}),
        "energy": MappingProxyType({"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "µJ": 1e-6, "Wh": 3600.0}),
        "count": MappingProxyType({"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}),
        "bytes": MappingProxyType({"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}),
        "duration": MappingProxyType({"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}),
        "share": MappingProxyType({"": 1.0, "%": 1e-2}),
        "part": MappingProxyType({"": 1.0, "%": 1e-2}),
    }
)
"""Of each kind; a share may be the whole, a part is less."""
LIMITS: Mapping[str, tuple[float, str]] = MappingProxyType(
    {"share": (1.0, "and at most 1 (100 %)"), "part": (math.nextafter(1.0, 0.0), "and less than 1 (100 %)")}
)


def parse(text: str, kind: str, option: str) -> float:
    """A positive quantity in SI units, e.g. "25ms" as latency is 0.025.

    Raises:
        InputError: not a number with one of the units of its kind; names the option and the units.
    """
    units = UNITS[kind]
    match = re.fullmatch(r"\s*([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*([A-Za-zµμ%]*)\s*", text)
    unit = "" if match is None else match[3].replace("μ", "µ")  # Greek mu to the micro sign: both are typed
    if match is None or unit not in units:
        shown = ", ".join(unit or "none" for unit in units)
        raise InputError(f"{option} takes a positive number with a unit ({shown}), got {text!r}")
    number, factor = float(match[1] + (match[2] or "")), units[unit]
    value = number * factor if factor >= 1 else number / round(1 / factor)  # 70 / 100 is 0.7, 70 * 0.01 is not
    most, limit = LIMITS.get(kind, (sys.float_info.max, "and finite"))
    if not 0 < value <= most:
        hint = f": did you mean {text.strip()}%?" if kind in LIMITS and not unit and 1 < value <= 100 * most else ""
        raise InputError(f"{option} must be more than zero {limit}, got {text!r}{hint}")
    return value
