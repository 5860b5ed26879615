"""The Raspberry Pi 5's power chip: currents and voltages of the board's rails by `vcgencmd pmic_read_adc`.

It has no sensor of the 5 V input: what is added up is what its regulators give, without their own losses, USB and the fan.

This file also runs on the device, without the rest of the package: Python 3.9 and numpy (see `transports.bundle`).
"""

from __future__ import annotations

import re
import shutil
import subprocess

from nas.errors import MeterError
from nas.hardware.meters.base import Clock
from nas.hardware.meters.sampled import SampledMeter

__all__ = ["Pmic", "rails_w"]

_TIMEOUT_S = 2.0
_PERIOD_S = 0.01
# "   VDD_CORE_A current(7)=0.90246000A", "  VDD_CORE_V volt(15)=0.72049960V"
_LINE = re.compile(r"^\s*(\w+)_([AV])\s+(?:current|volt)\(\d+\)=(-?[0-9.]+)[AV]\s*$")


def rails_w(text: str) -> dict[str, float]:
    """Watts by rail from what `vcgencmd pmic_read_adc` prints; only rails with both current and voltage (EXT5V has no current).

    Raises:
        MeterError: it holds no such rail.
    """
    found: dict[str, dict[str, float]] = {"A": {}, "V": {}}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match:
            found[match[2]][match[1]] = float(match[3])
    watts = {name: amperes * found["V"][name] for name, amperes in found["A"].items() if name in found["V"]}
    if not watts:
        raise MeterError(f"vcgencmd pmic_read_adc tells no rails (is this a Raspberry Pi 5?), it says {text.strip()[:60]!r}")
    return watts


class Pmic(SampledMeter):
    """All rails together, or one of them.

    Args:
        argument: a rail, e.g. "VDD_CORE"; all by default.
        vcgencmd: path of the program; looked for by default.
    """

    name = "pmic"
    scope = "rails of the power chip, not the 5 V input"
    resolution_s = 0.02

    def __init__(self, argument: str = "", vcgencmd: str | None = None, clock: Clock | None = None, period_s: float = _PERIOD_S) -> None:
        super().__init__(clock, period_s)
        self._rail = argument
        self._program = vcgencmd or shutil.which("vcgencmd")
        if argument:
            self.scope = f"rail {argument}"

    def read_w(self) -> float:
        """Runs the program once, some milliseconds."""
        if self._program is None:
            raise MeterError("vcgencmd is not there: it comes with Raspberry Pi OS")
        try:
            done = subprocess.run(  # noqa: S603
                [self._program, "pmic_read_adc"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise MeterError(f"{self._program} pmic_read_adc failed: {exc}") from exc
        if done.returncode:
            advice = ": sudo usermod -aG video $USER, then log in again" if "/dev/v" in done.stdout + done.stderr else ""
            said = (done.stderr or done.stdout).strip()[:100]
            raise MeterError(f"{self._program} pmic_read_adc failed ({said or done.returncode}){advice}")
        watts = rails_w(done.stdout)
        if not self._rail:
            return sum(watts.values())
        if self._rail not in watts:
            raise MeterError(f"there is no rail {self._rail}: known are {', '.join(watts)}")
        return watts[self._rail]
