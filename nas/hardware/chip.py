"""Facts of the chip that this runs on, for the profile of a new device and of the host; SI units, each with where it is from.

This file also runs on the device, without the rest of the package: Python 3.9 and numpy (see `transports.bundle`).
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

__all__ = ["chip_facts", "is_arm", "told_facts"]

_ROOT = Path("/")
_CPUS = "sys/devices/system/cpu"
# (flags that a core must have, peak fp32 multiply-adds a cycle, words): vector lanes times fused multiply-add pipes, by class.
_SIMD = (
    (("avx512f",), 32, "AVX-512"),
    (("avx2", "fma"), 16, "AVX2 with FMA"),
    (("asimddp",), 8, "NEON 128 bit with dot product"),
    (("asimd",), 4, "NEON 128 bit"),
    (("neon",), 4, "NEON, 32-bit system"),
)
# Arm's part numbers in /proc/cpuinfo: Linux, arch/arm64/include/asm/cputype.h.
_ARM_PARTS: Mapping[str, str] = MappingProxyType({
    "0xd03": "Cortex-A53", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57", "0xd08": "Cortex-A72", "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76", "0xd0c": "Neoverse-N1", "0xd41": "Cortex-A78", "0xd42": "Cortex-A78AE", "0xd46": "Cortex-A510",
})  # fmt: skip
_TURBO = 1.4  # of the clock that a virtual machine shows, typical of servers
_ASSUMED_CLOCK_HZ = 1.5e9
_ASSUMED_MEMORY_BYTES = 2**30
_COPIED_BYTES = 64 * 2**20  # beyond the caches of small devices
_COPIES = 5


def is_arm(machine: str) -> bool:
    """Whether a machine, as `platform.machine()` names it, is an Arm one."""
    return machine.lower().startswith(("aarch64", "arm"))


def told_facts(root: Path = _ROOT) -> dict[str, Any]:
    """What the system tells at once: {"title": str, "machine": str, "chip": {name: {"value", "source"}}}, with the "kind" of an amount
    (`nas.hardware.facts.Amount`) that nobody published.

    The chip's facts are those of the fastest core. `clock_hz` and `memory_bytes` are left out where the system does not tell them,
    `memory_bytes_per_s` always.
    """
    fastest, clock = _fastest_core(root)
    fields = _cpuinfo(root, fastest)
    board = _text(root / "proc/device-tree/model").strip("\0 ") or fields.get("Model", "")
    model = _model(fields) or board or platform.processor() or platform.machine() or "unknown"
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    lanes, simd = next(((macs, words) for needed, macs, words in _SIMD if flags.issuperset(needed)), (4, "unknown: assumed 128 bit"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not clock and re.fullmatch(r"[0-9.]+", fields.get("cpu MHz", "")):
        source = f"/proc/cpuinfo times {_TURBO:g}: the turbo is not told"
        clock = {"value": _TURBO * float(fields["cpu MHz"]) * 1e6, "kind": "modelled", "source": source}
    memory = re.search(r"MemTotal:\s+(\d+) kB", _text(root / "proc/meminfo"))
    chip = {
        "cpu": {"value": model, "source": "/proc/cpuinfo" if fields else "platform"},
        "cores": {"value": cores, "source": "cores that a process may use"},
        "simd": {"value": simd, "source": "/proc/cpuinfo" if flags else "assumption"},
        "macs_per_cycle": {"value": lanes, "kind": "modelled", "source": "vector lanes times fused multiply-add pipes, by class"},
        **({"clock_hz": clock} if clock else {}),
        **({"memory_bytes": {"value": int(memory[1]) * 1024, "source": "/proc/meminfo"}} if memory else {}),
        **_caches(root, fastest),
    }
    return {"title": board or model, "machine": platform.machine(), "chip": chip}


def chip_facts(root: Path = _ROOT) -> dict[str, Any]:
    """`told_facts`, memory's speed measured, and assumptions that say so for what the system does not tell."""
    facts = told_facts(root)
    assumed = {
        "clock_hz": {"value": _ASSUMED_CLOCK_HZ, "kind": "modelled", "source": "assumption: the device does not tell its clock"},
        "memory_bytes": {"value": _ASSUMED_MEMORY_BYTES, "kind": "modelled", "source": "assumption: the device does not tell its memory"},
    }
    source = "measured: read and written by one core copying 64 MiB with numpy"
    speed = {"value": _copy_bytes_per_s(), "kind": "measured", "source": source}
    return {**facts, "chip": {**assumed, **facts["chip"], "memory_bytes_per_s": speed}}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _fastest_core(root: Path) -> tuple[int, dict[str, Any]]:
    """Its number, 0 where nothing tells it, and the clock fact; empty where the system has none."""
    clocks = _by_core(root, "cpufreq/cpuinfo_max_freq")
    speeds = clocks or _by_core(root, "cpu_capacity")
    fastest = max(sorted(speeds), key=lambda core: speeds[core], default=0)
    return fastest, {"value": 1e3 * clocks[fastest], "source": "cpuinfo_max_freq of the fastest core"} if clocks else {}


def _by_core(root: Path, name: str) -> dict[int, int]:
    """A number that the system has of each core."""
    texts = {int(folder.name[3:]): _text(folder / name) for folder in (root / _CPUS).glob("cpu[0-9]*")}
    return {core: int(text) for core, text in texts.items() if text.isdigit() and int(text)}


def _cpuinfo(root: Path, core: int) -> dict[str, str]:
    """Fields of one core, and those that stand for the whole board: Arm writes them at the end."""
    found: dict[str, str] = {}
    for block in _text(root / "proc/cpuinfo").split("\n\n"):
        pairs = (line.partition(":")[::2] for line in block.splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in pairs if value.strip()}
        if fields.get("processor", str(core)) == str(core):
            found.update(fields)
    return found


def _model(fields: Mapping[str, str]) -> str:
    """The processor's name; Arm's kernels write the architecture there, e.g. "ARMv8 Processor rev 1 (v8l)", and the core by number."""
    name, core = fields.get("model name", ""), _ARM_PARTS.get(fields.get("CPU part", ""), "")
    return name if name and not (core and name.startswith("ARMv")) else ", ".join(filter(None, (fields.get("Hardware"), core)))


def _caches(root: Path, core: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for index in sorted((root / f"{_CPUS}/cpu{core}/cache").glob("index*")):
        level, kind = _text(index / "level"), _text(index / "type")
        match = re.fullmatch(r"(\d+)([KM])", _text(index / "size"))
        if match and kind in ("Data", "Unified") and level in ("1", "2", "3"):
            name = "l1d_bytes" if level == "1" else f"l{level}_bytes"
            found[name] = {"value": int(match[1]) * (1024 if match[2] == "K" else 1024**2), "source": str(index)}
    return found


def _copy_bytes_per_s() -> float:
    """Fastest of a few copies; read and written bytes both count."""
    source = np.ones(_COPIED_BYTES, dtype=np.uint8)
    target = np.empty_like(source)
    best_s = float("inf")
    for _ in range(_COPIES):
        start = time.perf_counter()
        np.copyto(target, source)
        best_s = min(best_s, time.perf_counter() - start)
    return 2 * _COPIED_BYTES / best_s
