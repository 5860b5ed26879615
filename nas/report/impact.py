"""What an inference's energy comes to: kWh and CO2 equivalent of a year, battery life, and the same of a baseline.

Operation only: what making, transporting and scrapping the device costs (its embodied footprint) is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nas.errors import InputError
from nas.hardware.facts import Power
from nas.metrics import Metric
from nas.report.grid import Grid
from nas.report.units import digits

__all__ = ["BATTERY_WH", "EMBODIED", "INFERENCES_PER_DAY", "Band", "Impact", "Use", "battery_notes", "impact_notes", "impact_of"]

INFERENCES_PER_DAY = 1e6
"""Where nobody says how many."""
BATTERY_WH = 37.0
"""Of a power bank of 10,000 mAh at 3.7 V, where a report shows what a battery does."""
EMBODIED = "operation only: the embodied footprint of making and scrapping the device is left out"
DAYS = 365.25
_J_PER_KWH = 3.6e6
_DAY_S = 86_400.0
_WHOLE = ("board", "input of the device, by an external instrument")
"""Scopes of joules of all that a device draws; of the others ("package", "what the ina219 sees") nobody knows how much of it they are."""
_NET = "net of idle"


@dataclass(frozen=True, slots=True)
class Band:
    """A figure with its 90 % band."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> Band:
        return Band(self.value * factor, self.low * factor, self.high * factor)

    def text(self) -> str:
        """For people, three digits."""
        return f"{digits(self.value)} ({digits(self.low)} to {digits(self.high)})"

    def to_dict(self, unit: str, scope: str, source: str) -> dict[str, float | str]:
        """With what the joules behind it cover and where they are from."""
        return {"value": self.value, "low": self.low, "high": self.high, "unit": unit, "scope": scope, "source": source}


@dataclass(frozen=True, slots=True)
class Use:
    """How a network is used.

    Attributes:
        inferences_per_day: of all devices together.
        grid: where the electricity is from.
        battery_wh: capacity of a battery that has to last; None for mains.
    """

    inferences_per_day: float
    grid: Grid
    battery_wh: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.inferences_per_day) and self.inferences_per_day > 0):
            raise InputError(f"inferences a day must be more than zero and finite, got {self.inferences_per_day}")
        if self.battery_wh is not None and not (math.isfinite(self.battery_wh) and self.battery_wh > 0):
            raise InputError(f"a battery's capacity must be more than zero Wh and finite, got {self.battery_wh}")


@dataclass(frozen=True, slots=True)
class Impact:
    """A network in use.

    Attributes:
        name: of the candidate or the baseline.
        energy: joules of an inference, with scope and source.
        kwh_year, co2e_kg_year: of a year.
        busy_share: of a day that one device computes; more than 1 needs more than one.
        battery_days: until the battery is empty, by the inferences alone.
        battery_always_on_days: the same with the board idling in between; None where its idle watts are not known, it never idles,
            or nobody knows how many of them are in the joules.
        is_part: its joules are of a part of the device, idle included.
    """

    name: str
    energy: Metric
    kwh_year: Band
    co2e_kg_year: Band
    busy_share: float
    battery_days: Band | None = None
    battery_always_on_days: Band | None = None
    is_part: bool = False

    def to_dict(self) -> dict[str, object]:
        scope, source = str(self.energy.scope), self.energy.source
        days = {"battery_days": self.battery_days, "battery_always_on_days": self.battery_always_on_days}
        return {
            "name": self.name,
            "energy_j": self.energy.to_dict(),
            "energy_kwh_year": self.kwh_year.to_dict("kWh", scope, source),
            "co2e_kg_year": self.co2e_kg_year.to_dict("kg", scope, source),
            "busy_share": self.busy_share,
            **{name: band.to_dict("d", scope, source) for name, band in days.items() if band is not None},
        }


def impact_of(name: str, energy: Metric, latency: Metric, use: Use, power: Power | None) -> Impact:
    """The impact of a network.

    Args:
        energy: joules of an inference; says its scope.
        latency: seconds of one.
        power: of the whole board, for its idle watts; None where they are not known.

    Raises:
        InputError: joules without a scope.
    """
    if energy.unit != "J" or not energy.scope:
        raise InputError(f"an impact needs joules that say what they cover, got {energy.to_dict()}")
    joule = Band(
        energy.value, energy.low if energy.low is not None else energy.value, energy.high if energy.high is not None else energy.value
    )
    kwh = joule.times(use.inferences_per_day * DAYS / _J_PER_KWH)
    busy_share = use.inferences_per_day * latency.value / _DAY_S
    is_part = energy.scope not in (*_WHOLE, power.scope if power else "") and not energy.scope.endswith(_NET)
    alone = always_on = None
    if use.battery_wh is not None:
        alone = _days(use.battery_wh, joule.times(use.inferences_per_day))
        if power is not None and not power.is_net and not is_part and busy_share <= 1:
            always_on = _always_on(use.battery_wh, joule, energy.scope, busy_share, use.inferences_per_day, power)
    return Impact(name, energy, kwh, kwh.times(use.grid.kg_per_kwh), busy_share, alone, always_on, is_part)


def _days(battery_wh: float, day_j: Band) -> Band:
    """Until it is empty; the more a day takes, the fewer."""
    battery_j = 3600.0 * battery_wh
    return Band(battery_j / day_j.value, battery_j / day_j.high, battery_j / day_j.low)


def _always_on(battery_wh: float, joule: Band, scope: str, busy_share: float, inferences_per_day: float, power: Power) -> Band:
    """With idle between inferences, and beneath them too where the joules are net of it. The idle watts vary by the profile's spread."""
    idle_share = 1.0 if scope.endswith(_NET) else 1.0 - busy_share
    idle_j = power.at(0) * _DAY_S * idle_share
    ends = (joule.value, 1.0), (joule.low, 1 / power.spread), (joule.high, power.spread)
    return _days(battery_wh, Band(*(inferences_per_day * each + idle_j * spread for each, spread in ends)))


def impact_notes(found: Sequence[Impact], use: Use, compared: Sequence[Impact] = ()) -> Iterator[str]:
    """Where the joules and the grid are from, what is left out, and what one device cannot do.

    Args:
        compared: baselines.
    """
    yield f"energy: {'; '.join(sorted({f'{each.energy.source}, {each.energy.scope}' for each in found}))}"
    if any(each.is_part or str(each.energy.scope).endswith(_NET) for each in found):
        yield "what the rest of the board draws is in none of the kWh"
    yield f"grid: {use.grid.name} {use.grid.year}, {digits(1e3 * use.grid.kg_per_kwh)} g CO2e/kWh   [{use.grid.source}]"
    busy = [each for each in (*found, *compared) if each.busy_share > 1]
    for each in busy:
        yield f"one device cannot do so many of {each.name}: at least {math.ceil(each.busy_share)} are needed"
    yield EMBODIED


def battery_notes(found: Sequence[Impact]) -> Iterator[str]:
    """What "always on" is, and why it is not known where it is not; nothing without a battery."""
    on_battery = [each for each in found if each.battery_days is not None]
    unknown = [each for each in on_battery if each.battery_always_on_days is None]
    if len(unknown) < len(on_battery):
        yield "always on: with the board idling between inferences, by its idle watts"
    if busy := [each.name for each in unknown if each.busy_share > 1]:
        yield f"always on of {', '.join(busy)} is not known: so many inferences leave one device no time to idle"
    resting = [each for each in unknown if each.busy_share <= 1]
    if parts := sorted({str(each.energy.scope) for each in resting if each.is_part}):
        yield f"always on is not known: the joules are of {' and '.join(parts)}, idle watts of the whole board"
    if any(not each.is_part for each in resting):
        yield "always on is not known: the profile does not say what the board draws at rest"
