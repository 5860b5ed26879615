"""Recorded readings of every energy meter, and the joules that must come of them: exact, or refused with a reason.

Files of /sys and outputs of `vcgencmd` are written as the kernel and the board write them (the numbers are made up); time is stepped.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

from nas.errors import MeterError
from nas.hardware.meters.base import Clock, EnergyMeter, EnergyWindow, impossible
from nas.hardware.meters.csv_log import CsvLog
from nas.hardware.meters.hwmon import Hwmon
from nas.hardware.meters.nvml import Nvml
from nas.hardware.meters.pmic import Pmic
from nas.hardware.meters.rapl import Rapl
from nas.hardware.meters.sampled import SampledMeter
from nas.hardware.meters.trace import read_trace

__all__ = ["CASES", "PMIC_BUSY", "PMIC_IDLE", "Case", "SteppedClock", "failures", "write_tree", "write_vcgencmd"]

NEVER_S = 3600.0  # period of a sampling thread that is to leave the sampling to the case
EXACT = 1e-9  # relative


class SteppedClock(Clock):
    """Time that passes only when it is waited for."""

    def __init__(self) -> None:
        self.time_s = 100.0
        self.on_wait: Callable[[float], None] = lambda _: None

    def now_s(self) -> float:
        return self.time_s

    def wait(self, seconds: float) -> None:
        self.on_wait(seconds)
        self.time_s += seconds


@dataclass(frozen=True)
class Case:
    """A recording.

    Attributes:
        run: reads it in an empty folder; gives the joules of one window.
        joules: that it must give; None where it must be refused.
        refusal: words of the refusal.
    """

    name: str
    run: Callable[[Path], float]
    joules: float | None = None
    refusal: str = ""

    def failure(self, folder: Path) -> str:
        """Why it does not pass; empty where it does."""
        try:
            found = self.run(folder)
        except MeterError as exc:
            if self.joules is not None:
                return f"{self.name}: {self.joules} J expected, refused: {exc}"
            return "" if self.refusal in str(exc) else f"{self.name}: refused, but not with {self.refusal!r}: {exc}"
        if self.joules is None:
            return f"{self.name}: {found} J were taken, a refusal expected: {self.refusal}"
        return "" if abs(found - self.joules) <= EXACT * self.joules else f"{self.name}: {self.joules} J expected, got {found}"


def failures() -> list[str]:
    """Of all cases, each in a folder of its own."""
    found = []
    for case in CASES:
        with tempfile.TemporaryDirectory(prefix="nas-meter-") as folder:
            found.append(case.failure(Path(folder)))
    return [each for each in found if each]


def write_tree(root: Path, files: Mapping[str, object]) -> None:
    """Files below a folder, by path, each a value and the end of a line."""
    for name, value in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n", encoding="ascii")


ZONES = "sys/class/powercap/"
RAPL: Mapping[str, object] = MappingProxyType(
    {
        f"{ZONES}intel-rapl:0/name": "package-0",
        f"{ZONES}intel-rapl:0/energy_uj": 1_000_000,
        f"{ZONES}intel-rapl:0/max_energy_range_uj": 262_143_328_850,
        f"{ZONES}intel-rapl:0/constraint_0_power_limit_uw": 65_000_000,
        f"{ZONES}intel-rapl:0:0/name": "core",
        f"{ZONES}intel-rapl:0:0/energy_uj": 400_000,
        f"{ZONES}intel-rapl:1/name": "psys",
        f"{ZONES}intel-rapl:1/energy_uj": 5_000_000,
    }
)
"""A laptop: one package, its cores a part of it, and the platform that holds the package."""
SECOND: Mapping[str, object] = MappingProxyType(
    {
        f"{ZONES}intel-rapl:1/name": "package-1",
        f"{ZONES}intel-rapl:1/energy_uj": 262_143_000_000,
        f"{ZONES}intel-rapl:1/max_energy_range_uj": 262_143_328_850,
        f"{ZONES}intel-rapl:1/constraint_0_power_limit_uw": 65_000_000,
        f"{ZONES}intel-rapl:1:0/name": "dram",
        f"{ZONES}intel-rapl:1:0/energy_uj": 65_712_999_613,
        f"{ZONES}intel-rapl:1:0/max_energy_range_uj": 65_712_999_613,
    }
)
"""A server's second package, with its memory."""


def _counted(root: Path, before: Mapping[str, object], after: Mapping[str, object], seconds: float = 1.0) -> float:
    write_tree(root, before)
    clock = SteppedClock()
    meter = Rapl(root=root, clock=clock)
    clock.on_wait = lambda _: write_tree(root, after)
    meter.begin()
    clock.wait(seconds)
    return _taken(meter, meter.end())


def _taken(meter: EnergyMeter, window: EnergyWindow) -> float:
    if reason := impossible(window, meter.most_w):
        raise MeterError(reason)
    return window.joules


def _rapl_vanishes(root: Path) -> float:
    write_tree(root, RAPL)
    meter = Rapl(root=root, clock=SteppedClock())
    meter.begin()
    (root / ZONES / "intel-rapl:0/energy_uj").unlink()
    return meter.end().joules


def _stepped(meter: SampledMeter, clock: SteppedClock, steps: Sequence[Callable[[], object]], step_s: float) -> float:
    """A window: each step changes what the sensor says, at its begin and then every `step_s`; the last step is read at the end."""
    steps[0]()
    meter.begin()
    for step in steps[1:]:
        clock.wait(step_s)
        step()
        meter.sample()
    return _taken(meter, meter.end())


MONITOR = "sys/class/hwmon/"


def _ina226(root: Path, watts: Sequence[float | None], step_s: float = 0.25) -> float:
    """None takes the file away."""
    write_tree(root, {f"{MONITOR}hwmon0/name": "cpu_thermal", f"{MONITOR}hwmon1/name": "ina226", f"{MONITOR}hwmon1/update_interval": 2})
    clock, path = SteppedClock(), root / MONITOR / "hwmon1/power1_input"

    def step(value: float | None) -> Callable[[], None]:
        return path.unlink if value is None else lambda: write_tree(path.parent, {path.name: round(value * 1e6)})

    step(watts[0])()
    meter = Hwmon(root=root, clock=clock, period_s=NEVER_S)
    try:
        return _stepped(meter, clock, [step(value) for value in watts], step_s)
    finally:
        meter.close()


def _ina3221(root: Path, labels: Sequence[str], milliamperes: Sequence[int]) -> float:
    chip = f"{MONITOR}hwmon3/"
    files: dict[str, object] = {f"{chip}name": "ina3221"}
    for number, (label, current) in enumerate(zip(labels, milliamperes, strict=True), start=1):
        files |= {
            f"{chip}in{number}_label": label,
            f"{chip}in{number}_enable": 1,
            f"{chip}in{number}_input": 5_000,
            f"{chip}curr{number}_input": current,
        }
    write_tree(root, files)
    clock = SteppedClock()
    meter = Hwmon(root=root, clock=clock, period_s=NEVER_S)
    return _stepped(meter, clock, [lambda: None] * 6, 0.2)


PMIC_IDLE = """   3V7_WL_SW_A current(0)=0.02000000A
   3V3_SYS_A current(1)=0.05000000A
   1V8_SYS_A current(2)=0.20000000A
  DDR_VDD2_A current(3)=0.10000000A
 VDD_CORE_A current(7)=0.50000000A
   3V7_WL_SW_V volt(8)=3.70000000V
   3V3_SYS_V volt(9)=3.30000000V
   1V8_SYS_V volt(10)=1.80000000V
  DDR_VDD2_V volt(11)=1.10000000V
 VDD_CORE_V volt(15)=0.80000000V
    EXT5V_V volt(24)=5.15000000V
     BATT_V volt(25)=0.00000000V
"""
"""1.109 W over five rails: .074 + .165 + .36 + .11 + .4; EXT5V and BATT have no current."""
PMIC_BUSY = PMIC_IDLE.replace("current(7)=0.50000000A", "current(7)=3.00000000A").replace("volt(15)=0.80000000V", "volt(15)=0.90000000V")
"""3.409 W: the core rail draws 2.7 W now."""


def write_vcgencmd(folder: Path, text: str, status: int = 0) -> Path:
    """A program that prints a recording, whatever it is asked."""
    recording, program = folder / "recording.txt", folder / "vcgencmd"
    recording.write_text(text, encoding="ascii")
    if not program.exists():
        program.write_text(f"#!/bin/sh\ncat '{recording}'\nexit {status}\n", encoding="ascii")
        program.chmod(0o755)
    return program


def _pmic(folder: Path, texts: Sequence[str], rail: str = "") -> float:
    clock = SteppedClock()
    meter = Pmic(rail, vcgencmd=str(write_vcgencmd(folder, texts[0])), clock=clock, period_s=NEVER_S)
    try:
        return _stepped(meter, clock, [functools.partial(write_vcgencmd, folder, text) for text in texts], 0.1)
    finally:
        meter.close()


def _nvml(folder: Path, before_mj: int, after_mj: int) -> float:
    del folder
    readings = iter((before_mj, after_mj))
    library = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetEnforcedPowerLimit=lambda _: 300_000,
        nvmlDeviceGetTotalEnergyConsumption=lambda _: next(readings),
    )
    clock = SteppedClock()
    meter = Nvml("0", library, clock)
    meter.begin()
    clock.wait(0.5)
    return _taken(meter, meter.end())


class _Instrument:
    """Logs ten times a second what `watts` is, by a clock of its own."""

    def __init__(self, path: Path, clock: SteppedClock, time_of: Callable[[float], str], header: str = "time,watts") -> None:
        self._path, self._clock, self._time_of = path, clock, time_of
        self.watts, self.silent = 2.0, False
        self._ticks = 0
        path.write_text(f"{header}\n", encoding="ascii")

    def passes(self, seconds: float) -> None:
        """Rows of the time that is about to pass."""
        end = self._clock.time_s + seconds
        with self._path.open("a", encoding="ascii") as handle:
            while 100.0 + 0.1 * (self._ticks + 1) <= end + 1e-9:
                self._ticks += 1
                if not self.silent:
                    handle.write(f"{self._time_of(0.1 * self._ticks)},{self.watts:.3f}\n")


def _logged(folder: Path, time_of: Callable[[float], str], hole: bool = False) -> float:
    """Two idle seconds, the load pattern, and a window of 2 s at 6 W."""
    clock = SteppedClock()
    instrument = _Instrument(folder / "log.csv", clock, time_of)
    clock.on_wait = instrument.passes
    meter = CsvLog(str(folder / "log.csv"), clock, patience_s=2.0)

    def load(seconds: float) -> None:
        instrument.watts = 6.0
        clock.wait(seconds)

    def rest(seconds: float) -> None:
        instrument.watts = 2.0
        clock.wait(seconds)

    rest(2.0)
    meter.align(load, rest)
    load(0.5)
    meter.begin()
    load(0.7)
    instrument.silent = hole
    load(0.8)
    instrument.silent = False
    load(0.5)
    window = meter.end()
    return _taken(meter, window)


def _clock_of(start_s: int, zone: str) -> Callable[[float], str]:
    """ISO times that begin some seconds after midnight."""

    def told(since_s: float) -> str:
        seconds = start_s + since_s
        return f"2026-03-01T{int(seconds // 3600):02d}:{int(seconds // 60 % 60):02d}:{seconds % 60:09.6f}{zone}"

    return told


def _log_of(text: str) -> Callable[[Path], float]:
    def run(folder: Path) -> float:
        (folder / "log.csv").write_text(text, encoding="ascii")
        trace = read_trace(folder / "log.csv")
        start_s, end_s = float(trace.times_s[0]), float(trace.times_s[-1])
        joules, rows = trace.energy_j(start_s, end_s)
        return _taken(CsvLog(), EnergyWindow(joules, end_s - start_s, rows))

    return run


CASES: tuple[Case, ...] = (
    Case("rapl: one package, its cores and the platform not counted twice",
         lambda root: _counted(root, RAPL, {f"{ZONES}intel-rapl:0/energy_uj": 3_500_000}), 2.5),
    Case("rapl: two packages and memory, two counters begin again",
         lambda root: _counted(root, {**RAPL, **SECOND}, {
             f"{ZONES}intel-rapl:0/energy_uj": 3_500_000, f"{ZONES}intel-rapl:1/energy_uj": 1_000_000,
             f"{ZONES}intel-rapl:1:0/energy_uj": 750_000}), 2.5 + 1.328850 + 0.75),
    Case("rapl: frozen", lambda root: _counted(root, RAPL, {}), refusal="stood still"),
    Case("rapl: more than twice the limit", lambda root: _counted(root, RAPL, {f"{ZONES}intel-rapl:0/energy_uj": 132_000_000}),
         refusal="131 W is more than the 130 W"),
    Case("rapl: a file vanishes", _rapl_vanishes, refusal="No such file"),
    Case("ina226: microwatts, trapezoids", lambda root: _ina226(root, (2.0, 4.0, 4.0, 2.0, 2.0)), 0.25 * (3 + 4 + 3 + 2)),
    Case("ina226: negative", lambda root: _ina226(root, (2.0, 4.0, -0.5, 2.0, 2.0)), refusal="negative"),
    Case("ina226: too few readings", lambda root: _ina226(root, (2.0, 4.0, 4.0)), refusal="slower than the window"),
    Case("ina226: a file vanishes", lambda root: _ina226(root, (2.0, 4.0, None, 2.0)), refusal="No such file"),
    Case("ina3221: the board's input holds the rails",
         lambda root: _ina3221(root, ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"), (1_200, 400, 300)), 6.0),
    Case("ina3221: rails without an input are added", lambda root: _ina3221(root, ("cpu", "gpu", "ddr"), (400, 300, 100)), 4.0),
    Case("pmic: rails added, the core rail rises", lambda folder: _pmic(folder, (PMIC_IDLE, *(PMIC_BUSY,) * 4, PMIC_IDLE)),
         0.1 * (2 * (1.109 + 3.409) / 2 + 3 * 3.409)),
    Case("pmic: one rail", lambda folder: _pmic(folder, (PMIC_BUSY,) * 6, "VDD_CORE"), 0.5 * 2.7),
    Case("pmic: dies in the middle", lambda folder: _pmic(folder, (PMIC_BUSY, PMIC_BUSY, "")), refusal="tells no rails"),
    Case("nvml: a counter in millijoules", lambda folder: _nvml(folder, 1_000_000, 1_012_345), 12.345),
    Case("nvml: more than twice the limit", lambda folder: _nvml(folder, 1_000_000, 1_400_000), refusal="800 W is more than the 600 W"),
    Case("nvml: goes back", lambda folder: _nvml(folder, 1_000_000, 990_000), refusal="went back"),
    Case("csv: seconds of its own", lambda folder: _logged(folder, lambda since: f"{7.03 + since:.3f}"), 12.0),
    Case("csv: another time zone", lambda folder: _logged(folder, _clock_of(50_000, "+05:30")), 12.0),
    Case("csv: no time zone", lambda folder: _logged(folder, _clock_of(50_000, "")), 12.0),
    Case("csv: a hole in the window", lambda folder: _logged(folder, lambda since: f"{since:.3f}", hole=True),
         refusal="nothing was logged"),
    Case("csv: trapezoids", _log_of("time,watts\n0,2\n1,4\n2,4\n4,0\n"), 3.0 + 4.0 + 4.0),
    Case("csv: unsorted", _log_of("time,watts\n0,2\n2,4\n1,4\n"), refusal="line 4: 1 is before the line above"),
    Case("csv: a time twice", _log_of("time,watts\n0,2\n1,4\n1,5\n"), refusal="line 4: 1 is the time of the line before"),
    Case("csv: some times with a zone", _log_of("time,watts\n2026-03-01T10:00:00Z,2\n2026-03-01T10:00:01,4\n"), refusal="time zone"),
    Case("csv: negative", _log_of("time,watts\n0,2\n1,-4\n"), refusal="negative"),
)  # fmt: skip
