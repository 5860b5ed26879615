"""What a machine says of itself while it measures: governor, clock, temperature, throttling, memory; and threads pinned to its cores.

Everything is read from Linux's /proc and /sys, and from `vcgencmd` on a Raspberry Pi; what a machine does not tell is None or empty.
This file also runs on the device, without the rest of the package: Python 3.9 and the standard library (see `transports.bundle`).
"""

from __future__ import annotations

import ctypes
import gc
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DeviceState", "disturbance", "memory_bytes", "pick_cores", "pinned", "read_state", "reset_peak_memory"]

ROOT = Path("/")
_CPUS = "sys/devices/system/cpu"
# Bits of `vcgencmd get_throttled`: raspberrypi.com, documentation of vcgencmd.
_PI_FLAGS = ((0, "under-voltage"), (1, "clock capped"), (2, "throttled"), (3, "soft temperature limit"))
_VCGENCMD_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class DeviceState:
    """A machine at one moment.

    Attributes:
        governor: of the cores that may be used, joined by "+" where they differ; empty where unknown.
        clock_hz: of the fastest core now.
        clock_limit_hz: highest clock that the system allows now.
        temperature_c: of the hottest sensor of the processor, degrees Celsius.
        throttled: what slows it down now, in words.
        throttle_events: how often Intel's cores and package were throttled since boot.
    """

    governor: str = ""
    clock_hz: float | None = None
    clock_limit_hz: float | None = None
    temperature_c: float | None = None
    throttled: tuple[str, ...] = ()
    throttle_events: int = 0


def read_state(root: Path = ROOT, vcgencmd: str | None = None) -> DeviceState:
    """The machine now.

    Args:
        root: where /sys is.
        vcgencmd: path of the program; looked for by default.
    """
    policies = sorted((root / _CPUS).glob("cpu[0-9]*/cpufreq"))
    governors = sorted({text for policy in policies if (text := _text(policy / "scaling_governor"))})
    clocks = [value for policy in policies if (value := _number(policy / "scaling_cur_freq"))]
    limits = [value for policy in policies if (value := _number(policy / "scaling_max_freq"))]
    counters = (root / _CPUS).glob("cpu[0-9]*/thermal_throttle/*_throttle_count")
    return DeviceState(
        governor="+".join(governors),
        clock_hz=1e3 * max(clocks) if clocks else None,
        clock_limit_hz=1e3 * max(limits) if limits else None,
        temperature_c=_temperature_c(root),
        throttled=_pi_flags(vcgencmd or shutil.which("vcgencmd")),
        throttle_events=sum(int(_number(counter) or 0) for counter in counters),
    )


def disturbance(before: DeviceState, after: DeviceState) -> str:
    """Why a window between two states does not count; empty where nothing speaks against it."""
    if after.throttled or before.throttled:
        return f"the device is throttled: {', '.join(after.throttled or before.throttled)}"
    if after.throttle_events > before.throttle_events:
        return f"the processor was throttled {after.throttle_events - before.throttle_events} times"
    if before.clock_limit_hz and after.clock_limit_hz and before.clock_limit_hz != after.clock_limit_hz:
        return f"the clock's limit moved from {before.clock_limit_hz / 1e6:.0f} to {after.clock_limit_hz / 1e6:.0f} MHz"
    if before.governor != after.governor:
        return f"the governor changed from {before.governor} to {after.governor}"
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    text = _text(path)
    return float(text) if re.fullmatch(r"-?[0-9]+", text) else None


def _temperature_c(root: Path) -> float | None:
    """The processor's zones where they say so, else the hottest of all."""
    zones = []
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        value = _number(zone / "temp")
        if value is not None:
            zones.append((re.search(r"cpu|soc|pkg|core|big|little", _text(zone / "type"), re.IGNORECASE) is not None, value / 1e3))
    named = [value for is_cpu, value in zones if is_cpu]
    return max(named or [value for _, value in zones], default=None)


def _pi_flags(vcgencmd: str | None) -> tuple[str, ...]:
    if vcgencmd is None:
        return ()
    try:
        done = subprocess.run(  # noqa: S603
            [vcgencmd, "get_throttled"], capture_output=True, text=True, timeout=_VCGENCMD_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    match = re.search(r"throttled=0x([0-9a-fA-F]+)", done.stdout)
    bits = int(match[1], 16) if match else 0
    return tuple(word for bit, word in _PI_FLAGS if bits >> bit & 1)


def pick_cores(threads: int, allowed: Sequence[int], root: Path = ROOT) -> tuple[int, ...]:
    """Cores for that many threads: the fastest first, one of each physical core before its sibling, late numbers before early ones.

    Interrupts tend to go to core 0. All of `allowed` where there are more threads than cores.
    """
    if threads >= len(allowed):
        return tuple(sorted(allowed))
    ranked = []
    seen: set[str] = set()
    for core in sorted(allowed, reverse=True):
        folder = root / _CPUS / f"cpu{core}"
        speed = _number(folder / "cpufreq/cpuinfo_max_freq") or _number(folder / "cpu_capacity") or 0.0
        siblings = _text(folder / "topology/thread_siblings_list") or str(core)
        ranked.append((siblings in seen, -speed, -core, core))
        seen.add(siblings)
    return tuple(sorted(core for *_, core in sorted(ranked)[:threads]))


@contextmanager
def pinned(threads: int) -> Iterator[tuple[int, ...]]:
    """Keeps this thread, and those that it starts, on `pick_cores`; gives the cores, none where the system cannot pin."""
    if not hasattr(os, "sched_setaffinity"):
        yield ()
        return
    before = os.sched_getaffinity(0)
    cores = pick_cores(threads, sorted(before))
    try:
        os.sched_setaffinity(0, cores)
    except OSError:
        yield ()
        return
    try:
        yield cores
    finally:
        os.sched_setaffinity(0, before)


def reset_peak_memory(root: Path = ROOT) -> None:
    """Gives freed memory back to the system and makes the peak start from what is left (Linux, proc(5), clear_refs)."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        (root / "proc/self/clear_refs").write_text("5")


def memory_bytes(root: Path = ROOT) -> tuple[int, int]:
    """Resident memory of this process now and at its peak; zeros where the system does not tell."""
    text = _text(root / "proc/self/status")
    found = {name: int(match[1]) * 1024 for name in ("VmRSS", "VmHWM") if (match := re.search(rf"{name}:\s+(\d+) kB", text))}
    return found.get("VmRSS", 0), found.get("VmHWM", 0)
