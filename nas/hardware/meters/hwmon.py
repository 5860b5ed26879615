"""Current sensors that Linux knows: INA219, INA226 and their kin on add-on boards, INA3221 on Jetsons.

`power1_input` is in µW, `currN_input` in mA, `inN_input` in mV (kernel documentation, hwmon/sysfs-interface.rst, hwmon/ina2xx.rst,
hwmon/ina3221.rst).

This file also runs on the device, without the rest of the package: Python 3.9 and numpy (see `transports.bundle`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nas.errors import MeterError
from nas.hardware.meters.base import Clock, read_number
from nas.hardware.meters.sampled import SampledMeter

__all__ = ["Hwmon"]

ROOT = Path("/")
_FOLDER = "sys/class/hwmon"
_INPUTS = ("VDD_IN", "POM_5V_IN", "VIN_SYS_5V0")
"""Labels of channels that hold the whole board (NVIDIA's Jetson Linux guides): the others are parts of them."""
_CHANNELS = (1, 2, 3)  # of an INA3221; higher numbers are its shunts
_PERIOD_S = 0.01


class Hwmon(SampledMeter):
    """One sensor chip; on a Jetson the channel of the board's input.

    Args:
        argument: which chip, by folder: "hwmon2"; the only one, or the one with the board's input, by default.
        root: where /sys is.
    """

    name = "hwmon"
    scope = "what the sensor sees"

    def __init__(self, argument: str = "", root: Path = ROOT, clock: Clock | None = None, period_s: float = _PERIOD_S) -> None:
        super().__init__(clock, period_s)
        self._readers: list[Callable[[], float]] = []
        self._why = ""
        try:
            self._open(_pick(root / _FOLDER, argument))
        except MeterError as exc:
            self._why = str(exc)

    def self_test(self) -> None:
        """Reads once."""
        if self._why:
            raise MeterError(self._why)
        super().self_test()

    def read_w(self) -> float:
        """Watts of the chosen channels together."""
        if self._why:
            raise MeterError(self._why)
        return sum(read() for read in self._readers)

    def _open(self, chip: Path) -> None:
        with suppress(MeterError):
            self.resolution_s = max(_PERIOD_S, read_number(chip / "update_interval") * 1e-3)
        if (chip / "power1_input").exists():
            self._readers = [lambda: read_number(chip / "power1_input") * 1e-6]
            self.scope = f"what the {_text(chip / 'name')} sees"
            return
        channels = {number: _text(chip / f"in{number}_label") or f"channel {number}" for number in _CHANNELS if _is_on(chip, number)}
        if not channels:
            raise MeterError(f"{chip} has neither power1_input nor a channel with curr1_input and in1_input")
        whole = [number for number, label in channels.items() if label in _INPUTS]
        for number in whole or channels:
            self._readers.append(_product(chip / f"in{number}_input", chip / f"curr{number}_input"))
        self.scope = "board" if whole else f"rails {' + '.join(channels.values())}"


def _pick(folder: Path, argument: str) -> Path:
    """The chip that is meant.

    Raises:
        MeterError: there is none, or several and no word which.
    """
    chips = [path for path in sorted(folder.glob("hwmon*")) if _text(path / "name").startswith("ina")]
    if argument:
        chips = [path for path in chips if path.name == argument]
        if not chips:
            raise MeterError(f"there is no current sensor {folder / argument}")
    if not chips:
        raise MeterError(f"there is no INA219, INA226 or INA3221 in {folder}")
    with_input = [chip for chip in chips if any(_text(chip / f"in{number}_label") in _INPUTS for number in _CHANNELS)]
    found = with_input or chips
    if len(found) > 1:
        names = ", ".join(f"hwmon:{chip.name} ({_text(chip / 'name')})" for chip in found)
        raise MeterError(f"there are several current sensors, and one may see what another sees: name one of {names}")
    return found[0]


def _is_on(chip: Path, number: int) -> bool:
    enabled = chip / f"in{number}_enable"
    there = (chip / f"curr{number}_input").exists() and (chip / f"in{number}_input").exists()
    return there and _text(enabled) != "0"


def _product(volts: Path, amperes: Path) -> Callable[[], float]:
    return lambda: read_number(volts) * 1e-3 * read_number(amperes) * 1e-3


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
