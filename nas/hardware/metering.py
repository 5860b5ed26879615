"""Whether energy is measured beside latency, and by which meter of the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nas.config import EnergyProtocol
from nas.errors import MeterError
from nas.hardware.meters.loading import AUTO
from nas.hardware.session import Session

__all__ = ["OFF", "Metering", "choose_meter", "meter_identity"]

OFF = "off"
_OF_A_FILE = ("csv", "replay")


@dataclass(frozen=True, slots=True)
class Metering:
    """How energy is measured.

    Attributes:
        meter: name of a meter with its argument; "auto" for the first that works on the device, if one does; "off".
        most_w: watts that the device cannot draw; None where nobody says.
        protocol: windows and their length.
    """

    meter: str = AUTO
    most_w: float | None = None
    protocol: EnergyProtocol = field(default_factory=EnergyProtocol)

    def is_other_than(self, meter: str) -> bool:
        """Whether a meter was asked for by name, and is not the one of this name and argument."""
        return self.meter not in (AUTO, OFF) and meter_identity(self.meter) != meter_identity(meter)


def meter_identity(meter: str) -> str:
    """Which instrument a meter's name and argument mean: "pmic:VDD_CORE" is a rail; the file of "csv:FILE" is another every day."""
    name = meter.partition(":")[0]
    return name if name in _OF_A_FILE else meter


def choose_meter(session: Session, metering: Metering | None, note: Callable[[str], None]) -> str | None:
    """Name of the meter to use on a device, with its argument; None for no energy.

    Args:
        note: told which one was found; nothing where none was asked for and none works (`nas doctor` there says why).

    Raises:
        MeterError: the one that was asked for does not work there.
        InputError: there is none of that name.
    """
    if metering is None or metering.meter == OFF:
        return None
    if metering.meter != AUTO:
        status = session.meters(metering.meter)[0]
        if not status["works"]:
            raise MeterError(f"energy meter {metering.meter} does not work there: {status['why']}")
        note(f"energy is metered by {metering.meter}: {status['scope']}")
        return metering.meter
    found = next((each for each in session.meters() if each["works"] and each["is_automatic"]), None)
    if found is None:
        return None
    note(f"energy is metered by {found['name']}: {found['scope']}")
    return str(found["name"])
