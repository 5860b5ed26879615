"""Numbers with their unit and where they come from, what is optimised, and candidates that carry both."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Literal, cast, get_args

from nas.architecture import Architecture
from nas.errors import InputError
from nas.target import Target

__all__ = [
    "OBJECTIVES",
    "UNITS",
    "Candidate",
    "Constraint",
    "Metric",
    "Objective",
    "Source",
    "contradicts",
    "measured_first",
    "standard_error",
]

Source = Literal["counted", "predicted", "supernet", "trained", "measured", "published", "modelled"]
SOURCES: tuple[str, ...] = get_args(Source)

UNITS: Mapping[str, str] = MappingProxyType(
    {
        "accuracy_search": "1",
        "accuracy_test": "1",
        "accuracy_test_int8": "1",
        "accuracy_validation": "1",
        "naswot": "1",
        "train_epochs": "1",
        "latency_s": "s",
        "latency_measured_s": "s",
        "latency_int8_s": "s",
        "energy_j": "J",
        "macs": "MAC",
        "params": "1",
        "size_bytes": "B",
        "peak_memory_bytes": "B",
    }
)
"""Every metric of a candidate and its unit. naswot is a score of the untrained network, train_epochs what accuracy_search was trained for
where each network trains by itself. latency_s is what the search saw; latency_measured_s is a finalist's, run on the target.
Of an fp32 finalist accuracy_test_int8 and latency_int8_s are its int8 file's. accuracy_validation is the trained network's on
search-validation, by which pruned ones are judged."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that says how sure it is and who says so.

    Attributes:
        value: in SI units.
        unit: as in `UNITS`.
        source: how the number came about.
        std: one standard error, where the source gives one.
        low, high: 90 % band, where the source gives one.
        scope: what an energy figure covers ("board", "net of idle", a rail).
    """

    value: float
    unit: str
    source: Source
    std: float | None = None
    low: float | None = None
    high: float | None = None
    scope: str | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise InputError(f"a metric must be a finite number, got {self.value}")
        if self.unit == "J" and not self.scope:
            raise InputError(f"a joule says what it covers (board, net of idle, a rail), got {self.value} J without a scope")
        if self.source not in SOURCES:
            raise InputError(f"a metric's source must be one of {', '.join(SOURCES)}, got {self.source!r}")
        if self.std is not None and not 0 <= self.std < math.inf:
            raise InputError(f"a standard error must be finite and not negative, got {self.std}")
        if (self.low is None) != (self.high is None):
            raise InputError(f"a band needs both ends, got low={self.low}, high={self.high}")
        if self.low is not None and self.high is not None and not -math.inf < self.low <= self.value <= self.high < math.inf:
            raise InputError(f"a band must be finite and hold its value, got {self.low} <= {self.value} <= {self.high}")

    def to_dict(self) -> dict[str, float | str]:
        """Fields that are set, in the order of the class."""
        pairs = ((name, getattr(self, name)) for name in ("value", "std", "low", "high", "unit", "scope", "source"))
        return {name: value for name, value in pairs if value is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Metric:
        """Reads `to_dict`'s form.

        Raises:
            InputError: for unknown or missing keys and for values that the class refuses.
        """
        if not {"value", "unit", "source"} <= data.keys() <= {field.name for field in fields(cls)}:
            raise InputError(f"a metric has value, unit and source, and may have std, low, high, scope; got {sorted(data)}")
        try:
            return cls(**cast("dict[str, float]", dict(data)))  # type: ignore[arg-type]
        except TypeError as exc:
            raise InputError(f"a metric's value, std, low and high are numbers, its other fields words; got {dict(data)}") from exc


def measured_first(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """The same metrics; a measured latency stands before what the search saw."""
    found = {}
    for name, metric in metrics.items():
        if name == "latency_s" and "latency_measured_s" in metrics:
            found["latency_measured_s"] = metrics["latency_measured_s"]
        found[name] = metric
    return found


def contradicts(metrics: Mapping[str, Metric]) -> bool:
    """Whether the measured latency is outside the 90 % band of the predicted one; not where either is unknown or has no band."""
    measured, seen = metrics.get("latency_measured_s"), metrics.get("latency_s")
    if measured is None or seen is None or seen.low is None or seen.high is None:
        return False
    return not seen.low <= measured.value <= seen.high


def standard_error(correct: int, total: int) -> float:
    """Of the share (correct + 1) / (total + 2) (Laplace's rule): a perfect score on few images is not called certain."""
    smoothed = (correct + 1) / (total + 2)
    return math.sqrt(smoothed * (1 - smoothed) / (total + 2))


@dataclass(frozen=True, slots=True)
class Objective:
    """A metric and the way it should go."""

    metric: str
    direction: Literal["minimize", "maximize"]

    def __post_init__(self) -> None:
        if self.metric not in UNITS:
            raise InputError(f"unknown metric {self.metric!r}: known are {', '.join(UNITS)}")

    def loss(self, value: float) -> float:
        """The value as something to minimise."""
        return value if self.direction == "minimize" else -value


OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {
        "accuracy": Objective("accuracy_search", "maximize"),
        "latency": Objective("latency_s", "minimize"),
        "energy": Objective("energy_j", "minimize"),
        "macs": Objective("macs", "minimize"),
        "params": Objective("params", "minimize"),
        "size": Objective("size_bytes", "minimize"),
        "memory": Objective("peak_memory_bytes", "minimize"),
    }
)
"""The objectives by the names that the command line takes."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """An upper or a lower bound of a metric, SI units."""

    metric: str
    bound: float
    kind: Literal["max", "min"] = "max"

    def __post_init__(self) -> None:
        if self.metric not in UNITS:
            raise InputError(f"constraint on unknown metric {self.metric!r}: known are {', '.join(UNITS)}")
        if not (math.isfinite(self.bound) and self.bound > 0):
            raise InputError(f"the bound of {self.metric} must be a positive number, got {self.bound}")

    def holds(self, value: float) -> bool:
        return value <= self.bound if self.kind == "max" else value >= self.bound


@dataclass(frozen=True, slots=True)
class Candidate:
    """An architecture on a target, with what is known of it."""

    arch: Architecture
    target: Target
    metrics: Mapping[str, Metric]
    trial: int | None = None

    def __post_init__(self) -> None:
        for name, metric in self.metrics.items():
            if UNITS.get(name) != metric.unit:
                raise InputError(f"metric {name!r} must be in {UNITS.get(name, 'nothing: it is unknown')}, got {metric.unit!r}")
        object.__setattr__(self, "metrics", MappingProxyType(dict(self.metrics)))

    @property
    def id(self) -> str:
        return self.target.candidate_id(self.arch.arch_id)

    def meets(self, constraints: Iterable[Constraint]) -> bool:
        """Whether it is within all bounds of metrics that are known of it."""
        return all(each.holds(self.metrics[each.metric].value) for each in constraints if each.metric in self.metrics)
