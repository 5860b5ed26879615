"""What a profile says of a device, piece by piece: facts with their sources, watts, runtimes, predictors, published latencies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from nas.hardware.native import OPERATORS
from nas.hardware.roofline import CoreFacts
from nas.space import reference_names
from nas.target import PRECISIONS

__all__ = [
    "Amount", "Chip", "Default", "Fact", "Power", "PredictorEntry", "PublishedEntry", "RuntimeEntry", "Sibling", "Strict", "can_be",
]  # fmt: skip


class Strict(BaseModel):
    """Unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Fact(Strict):
    """A value and who says so."""

    value: str | int | float
    source: str = Field(min_length=1)


class Amount(Fact):
    """A positive number and who says so.

    Attributes:
        kind: published by whoever the source names (a benchmark of others is), measured on this device by us, or modelled: assumed by
            class or by a similar chip.
    """

    value: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    kind: Literal["published", "measured", "modelled"] = "published"


@dataclass(frozen=True, slots=True)
class _Quantity:
    """What a number in SI units can be, so that one in another unit is noticed.

    Attributes:
        usual: what most are: the unit that brings a wrong one nearest is the one that was meant.
        slips: units that people write instead, with what each is of `unit`.
    """

    unit: str
    low: float
    usual: float
    high: float
    slips: tuple[tuple[str, float], ...]

    def check(self, value: float) -> float:
        """The value, if it can be."""
        if self.low <= value <= self.high:
            return value
        name, size = min(self.slips, key=lambda slip: abs(math.log(value * slip[1] / self.usual)))
        meant = f": if that is in {name}, write {value * size:g}" if self.low <= value * size <= self.high else ""
        raise ValueError(f"{value:g} {self.unit} cannot be, it is {self.low:g} to {self.high:g}{meant}")


_SIZES = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
_CHIP: Mapping[str, _Quantity] = MappingProxyType(
    {
        "clock_hz": _Quantity("Hz", 1e7, 2e9, 1e10, (("GHz", 1e9), ("MHz", 1e6), ("kHz", 1e3))),
        "memory_bytes_per_s": _Quantity("bytes/s", 1e7, 1e10, 1e14, _SIZES),
        "memory_bytes": _Quantity("bytes", 2e5, 4e9, 1e14, _SIZES),
    }
)
_LATENCY = _Quantity("s", 1e-5, 0.05, 10.0, (("ms", 1e-3), ("microseconds", 1e-6)))


def can_be(name: str, value: float) -> bool:
    """Whether a fact of a chip, by its name in `Chip`, can have a value in SI units."""
    known = _CHIP.get(name)
    return known is None or known.low <= value <= known.high


class Chip(Strict):
    """Facts of the chip, SI units; caches and bandwidth are of one core unless the source says otherwise.

    Attributes:
        macs_per_cycle: peak fp32 multiply-adds per cycle and core.
        memory_bytes_per_s: read and written by one core copying memory.
    """

    cpu: Fact
    cores: Amount
    clock_hz: Amount
    simd: Fact
    macs_per_cycle: Amount
    memory_bytes_per_s: Amount
    memory_bytes: Amount
    l1d_bytes: Amount | None = None
    l2_bytes: Amount | None = None
    l3_bytes: Amount | None = None

    @field_validator(*_CHIP)
    @classmethod
    def _in_si_units(cls, value: Amount, info: ValidationInfo) -> Amount:
        _CHIP[str(info.field_name)].check(value.value)
        return value

    def core(self) -> CoreFacts:
        return CoreFacts(self.clock_hz.value, self.macs_per_cycle.value, self.memory_bytes_per_s.value)


class RuntimeEntry(Strict):
    """A runtime of the device: its version ("unknown" where no source states it) and the precisions that really run.

    Attributes:
        foreign: by precision, operators that it does not run natively there: names of `nas.hardware.native.OPERATORS`.
    """

    version: str = Field(min_length=1)
    precisions: tuple[str, ...] = Field(min_length=1)
    foreign: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> RuntimeEntry:
        for precision in (*self.precisions, *self.foreign):
            if precision not in PRECISIONS:
                raise ValueError(f"unknown precision {precision!r}: known are {', '.join(PRECISIONS)}")
        for name in (name for names in self.foreign.values() for name in names):
            if name not in OPERATORS:
                raise ValueError(f"foreign: unknown operator {name!r}: known are {', '.join(sorted(OPERATORS))}")
        return self


class Default(Strict):
    """What a target is where the user says nothing."""

    runtime: str
    precision: str
    threads: int = Field(ge=1)


_BEYOND = 3.0
"""Times the expected watts that nothing draws: accelerators, displays and a bad estimate together. A guess; `most_w` replaces it."""


_VAGUE = 2.0  # spread of watts beyond which they are a guess


class Power(Strict):
    """Watts by number of busy cores.

    Attributes:
        scope: what they cover; what ends in "net of idle" is 0 at rest.
        watts: by busy cores; 0 is idle. Between two counts they are interpolated.
        by_precision: the same, but for idle, in another precision than fp32, where somebody knows them; else they are those of fp32.
        spread: x/÷ of the watts; 1 where they were measured.
        assumed: nobody measured this device: watts of its class.
        most_w: more cannot be drawn; a meter that says more is refused.
    """

    scope: str = Field("board", min_length=1)
    watts: dict[int, float] = Field(min_length=2)
    by_precision: dict[str, dict[Annotated[int, Field(ge=1)], float]] = Field(default_factory=dict)
    spread: float = Field(1.0, ge=1.0, le=10.0)
    assumed: bool = False
    most_w: float | None = Field(None, gt=0, allow_inf_nan=False)
    source: str = Field(min_length=1)

    @property
    def is_net(self) -> bool:
        """Whether idle is taken away."""
        return self.scope.endswith("net of idle")

    @property
    def limit_w(self) -> float | None:
        """Watts that a meter of the device cannot truly show: `most_w`, else three times the most that the profile expects; None where
        the watts are a guess by class, which refuses nothing."""
        if self.most_w is None and self.spread > _VAGUE:
            return None
        return self.most_w or _BEYOND * self.spread * max(max(watts.values()) for watts in (self.watts, *self.by_precision.values()))

    @model_validator(mode="after")
    def _rising(self) -> Power:
        if min(self.watts) != 0:
            raise ValueError("watts need an entry for 0 busy cores (idle)")
        if self.is_net and self.watts[0] != 0:
            raise ValueError(f"watts net of idle are 0 for 0 busy cores, got {self.watts[0]}")
        for precision, own in self.by_precision.items():
            if precision not in PRECISIONS or precision == "fp32" or not own:
                known = ", ".join(each for each in PRECISIONS if each != "fp32")
                raise ValueError(f"by_precision has watts of one busy core or more in {known}, got {precision!r}: {own}")
        for precision in ("fp32", *self.by_precision):
            watts = self.known(precision)
            values = list(watts.values())
            if values[1 if self.is_net else 0] <= 0 or values != sorted(values):
                raise ValueError(f"watts must be positive and not fall with busy cores, got {watts}")
        return self

    def says(self, precision: str) -> bool:
        """Whether its watts are those of a precision; else they stand for it."""
        return precision == "fp32" or precision in self.by_precision

    def known(self, precision: str = "fp32") -> dict[int, float]:
        """Watts by busy cores in a precision, fewest cores first: those of fp32 where nobody knows its own."""
        watts = {0: self.watts[0], **self.by_precision[precision]} if precision in self.by_precision else self.watts
        return dict(sorted(watts.items()))

    def at(self, busy_cores: int, precision: str = "fp32") -> float:
        """Watts with that many cores busy; the largest known count's beyond it."""
        watts = self.known(precision)
        counts = list(watts)
        if busy_cores >= counts[-1]:
            return watts[counts[-1]]
        upper = next(count for count in counts if count > busy_cores)
        lower = max(count for count in counts if count <= busy_cores)
        share = (busy_cores - lower) / (upper - lower)
        return watts[lower] + share * (watts[upper] - watts[lower])


class PredictorEntry(Strict):
    """A predictor file that comes with the profile.

    Attributes:
        runtime: name, or "any" where the measurements do not say which it was.
        file: beside the profile.
        how: how it was made.
        threads: counts that this file is for; empty: all that it can answer for.
    """

    runtime: str
    precision: str
    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.json$")
    how: str = Field(min_length=1)
    threads: tuple[int, ...] = ()

    def is_for(self, runtime: str, precision: str) -> bool:
        return self.runtime in ("any", runtime) and self.precision == precision


class PublishedEntry(Strict):
    """A published end-to-end latency of this device: fp32, batch 1, a reference network at its own resolution.

    Attributes:
        model: one of `nas.space.reference_names`.
        latency_s: seconds of one inference.
        may_be_half: the runtime may have used half precision, whatever the table says: widens the band.
    """

    model: str
    latency_s: float = Field(gt=0, allow_inf_nan=False)
    threads: int = Field(ge=1)
    runtime: str = Field(min_length=1)
    source: str = Field(min_length=1)
    may_be_half: bool = False

    @field_validator("latency_s")
    @classmethod
    def _in_seconds(cls, value: float) -> float:
        return _LATENCY.check(value)

    @field_validator("model")
    @classmethod
    def _is_a_reference(cls, value: str) -> str:
        if value not in reference_names():
            raise ValueError(f"unknown reference network: known are {', '.join(reference_names())}")
        return value


class Sibling(Strict):
    """Another chip of the family, whose published latencies stand for this one's.

    Attributes:
        name: of the board in the publication.
        speed: of this chip over the sibling, as facts of both say.
        source: of the speed.
    """

    name: str = Field(min_length=1)
    speed: float = Field(gt=0.1, lt=10)
    source: str = Field(min_length=1)
