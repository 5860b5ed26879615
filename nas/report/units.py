"""How numbers are shown at the edges: ms, mJ, MiB and per cent, for values that are SI units inside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from nas.metrics import Metric, contradicts

__all__ = ["SHOWN", "Shown", "contradiction", "describe", "digits", "origin", "seconds_text", "short", "span"]


@dataclass(frozen=True, slots=True)
class Shown:
    """How a metric is shown.

    Attributes:
        key: its name at the edge, with the unit in it: the metric's key in MLflow.
        label: for axes and tables.
        unit: of `factor` times the SI value, for people.
        factor: from SI units to those of `key`.
        percent: people read it in per cent; `factor` leaves it a fraction.
    """

    key: str
    label: str
    unit: str
    factor: float
    percent: bool = False

    def number(self, value: float) -> float:
        """The SI value in the unit that people read."""
        return value * (100 if self.percent else self.factor)

    def text(self, value: float) -> str:
        """`number`, three digits; counts, which have no unit, in thousands, millions, billions."""
        return digits(self.number(value)) if self.unit else short(value * self.factor)

    @property
    def axis(self) -> str:
        return f"{self.label}, {self.unit}" if self.unit else self.label


SHOWN: Mapping[str, Shown] = MappingProxyType(
    {
        "accuracy_search": Shown("accuracy_search", "search accuracy", "%", 1, percent=True),
        "accuracy_test": Shown("accuracy_test", "test accuracy", "%", 1, percent=True),
        "accuracy_test_int8": Shown("accuracy_test_int8", "int8 test accuracy", "%", 1, percent=True),
        "accuracy_validation": Shown("accuracy_validation", "validation accuracy", "%", 1, percent=True),
        "naswot": Shown("naswot", "NASWOT score", "", 1),
        "train_epochs": Shown("train_epochs", "epochs trained", "", 1),
        "latency_measured_s": Shown("latency_measured_ms", "measured latency", "ms", 1e3),
        "latency_s": Shown("latency_ms", "latency", "ms", 1e3),
        "latency_int8_s": Shown("latency_int8_ms", "int8 latency", "ms", 1e3),
        "energy_j": Shown("energy_mj", "energy", "mJ", 1e3),
        "macs": Shown("macs", "multiply-adds", "", 1),
        "params": Shown("params", "parameters", "", 1),
        "size_bytes": Shown("size_mib", "size", "MiB", 2**-20),
        "peak_memory_bytes": Shown("peak_memory_mib", "peak memory", "MiB", 2**-20),
    }
)
"""Every metric of `nas.metrics.UNITS`."""


def describe(name: str, metric: Metric) -> str:
    """A metric as people read it, with its error and its source, e.g. "12.3 ms (9.84 to 15.4), predicted"."""
    shown = SHOWN[name]
    text = f"{shown.number(metric.value):.2f}" if shown.percent else shown.text(metric.value)
    if metric.std is not None:
        text += f" ± {shown.number(metric.std):.2g}"
    text += f" {shown.unit}" if shown.unit else ""
    if metric.low is not None and metric.high is not None:
        text += f" ({shown.text(metric.low)} to {shown.text(metric.high)})"
    return f"{text}, {metric.source}" + (f" ({metric.scope})" if metric.scope else "")


def origin(metric: Metric) -> str:
    """The source of a number for the head of a column, with what it covers or is of where that is told."""
    return f"{metric.source}, {metric.scope}" if metric.scope else metric.source


def contradiction(metrics: Mapping[str, Metric]) -> str:
    """What a measured latency outside the predicted band says, e.g. "measured 0.011 ms, outside the 90 % band of the predicted
    (0.0095 to 0.0104 ms)"; empty where there is none."""
    if not contradicts(metrics):
        return ""
    shown, seen = SHOWN["latency_s"], metrics["latency_s"]
    measured, low, high = (shown.text(value) for value in (metrics["latency_measured_s"].value, seen.low or 0.0, seen.high or 0.0))
    return f"measured {measured} {shown.unit}, outside the 90 % band of the {seen.source} ({low} to {high} {shown.unit})"


def digits(value: float, count: int = 3) -> str:
    """A number of so many significant digits, at most 6; below a million without an exponent, e.g. "5400"."""
    return f"{_rounded(value, count):g}"


def short(value: float) -> str:
    """Three digits; large numbers in thousands, millions, billions."""
    size, letter = _prefix(_rounded(value, 3))
    return f"{digits(value / size)}{letter}"


def span(low: float, high: float, unit: str) -> str:
    """Two numbers in one unit, two digits, e.g. "0.8 to 3.1 GB/s"; one of them where they read the same."""
    size, letter = _prefix(_rounded(high, 2))
    ends = dict.fromkeys(digits(value / size, 2) for value in (low, high))
    return f"{' to '.join(ends)} {letter.strip()}{unit}"


def _rounded(value: float, count: int) -> float:
    """To so many significant digits."""
    return float(f"{value:.{count}g}")


def _prefix(value: float) -> tuple[float, str]:
    """What a number is shown in: its size, and a blank and a letter."""
    known = ((1e9, " G"), (1e6, " M"), (1e3, " k"))
    return next(((size, letter) for size, letter in known if abs(value) >= size), (1.0, ""))


def seconds_text(seconds: float | None) -> str:
    """ "1 h 05 min", "2 min 10 s" or "12 s"; empty for None."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"
