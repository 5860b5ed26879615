"""Intel's and AMD's running average power limit: counters of the processor's packages and their memory, from Linux' powercap.

Microjoules that begin again at `max_energy_range_uj` (kernel documentation, power/powercap/powercap.rst). Since 2020 (CVE-2020-8694)
they are for root only.

This file also runs on the device, without the rest of the package: Python 3.9 and the standard library (see `transports.bundle`).
"""

from __future__ import annotations

import os
from pathlib import Path

from nas.errors import MeterError
from nas.hardware.meters.base import Clock, CounterMeter, EnergyWindow, read_number

__all__ = ["Rapl"]

ROOT = Path("/")
_FOLDER = "sys/class/powercap"


class Rapl(CounterMeter):
    """All packages of the machine, and memory where it is counted: core and uncore are parts of the package, psys may hold all of them.

    Args:
        argument: none is taken.
        root: where /sys is.
    """

    name = "rapl"
    scope = "package"

    def __init__(self, argument: str = "", root: Path = ROOT, clock: Clock | None = None) -> None:
        super().__init__(clock)
        if argument:
            raise MeterError(f"rapl takes no argument, got {argument!r}")
        zones = sorted(path for path in (root / _FOLDER).glob("*-rapl:*") if (path / "energy_uj").exists())
        names = {zone: _name(zone) for zone in zones}
        packages = [zone for zone in zones if names[zone].startswith("package")]
        memory = [zone for zone in zones if names[zone] == "dram"]
        self._folder = root / _FOLDER
        self._zones = [*packages, *memory]
        if memory:
            self.scope = "package and memory"
        self._before: dict[Path, int] = {}
        self.most_w = self._limit_w(packages)

    def self_test(self) -> None:
        """As every counter; says what to do where it is for root only."""
        if not self._zones:
            raise MeterError(f"there is no counter of a package in {self._folder}")
        closed = [zone / "energy_uj" for zone in self._zones if not os.access(zone / "energy_uj", os.R_OK)]
        if closed:
            raise MeterError(f"{closed[0]} is for root only: sudo chmod a+r {' '.join(map(str, closed))} (until the next boot)")
        super().self_test()

    def read_j(self) -> float:
        """Sum of the counters as they are, for the self-test; windows are taken of each counter alone, see `end`."""
        return sum(self._read().values()) * 1e-6

    def begin(self) -> None:
        """Reads every counter."""
        self._before = self._read()
        self._begun = (self._clock.now_s(), 0.0)

    def end(self) -> EnergyWindow:
        """Adds up what each counter gained; each may have begun again at 0 once."""
        if self._begun is None:
            raise MeterError("rapl: a window that was not begun cannot end")
        start_s, _ = self._begun
        self._begun = None
        gained = 0
        for zone, after in self._read().items():
            before = self._before[zone]
            gained += after - before if after >= before else after - before + read_number(zone / "max_energy_range_uj")
        return EnergyWindow(gained * 1e-6, self._clock.now_s() - start_s, 2)

    def _read(self) -> dict[Path, int]:
        if not self._zones:
            raise MeterError(f"there is no counter of a package in {self._folder}")
        return {zone: read_number(zone / "energy_uj") for zone in self._zones}

    @staticmethod
    def _limit_w(packages: list[Path]) -> float | None:
        """Twice what the packages may draw for milliseconds, where they all say it: no window of half a second is above it."""
        found = []
        for zone in packages:
            try:
                limits = [read_number(path) for path in sorted(zone.glob("constraint_*_power_limit_uw"))]
            except MeterError:
                return None
            found.append(max(limits, default=0))
        return 2e-6 * sum(found) if found and min(found) > 0 else None


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
