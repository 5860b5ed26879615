"""Facts of the chip that this runs on, for the profile of a new device; SI units, each with where it is from.

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

__all__ = ["chip_facts"]

_ROOT = Path("/")
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
_COPIED_BYTES = 64 * 2**20  # beyond the caches of small devices
_COPIES = 5


def chip_facts(root: Path = _ROOT) -> dict[str, Any]:
    """{"title": str, "machine": str, "chip": {name: {"value", "source"}}}; what cannot be found is left out or says it is assumed."""
    fields = _cpuinfo(root)
    board = _text(root / "proc/device-tree/model").strip("\0 ")
    board = board or fields.get("Model", "")
    core = _ARM_PARTS.get(fields.get("CPU part", ""), "")
    model = fields.get("model name") or ", ".join(filter(None, (fields.get("Hardware"), core))) or board or platform.machine() or "unknown"
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    lanes, simd = next(((macs, words) for needed, macs, words in _SIMD if flags.issuperset(needed)), (4, "unknown: assumed 128 bit"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    chip = {
        "cpu": {"value": model, "source": "/proc/cpuinfo"},
        "cores": {"value": cores, "source": "cores that a process may use"},
        "clock_hz": _clock(root, fields),
        "simd": {"value": simd, "source": "/proc/cpuinfo"},
        "macs_per_cycle": {"value": lanes, "source": "vector lanes times fused multiply-add pipes, by class"},
        "memory_bytes_per_s": {"value": _copy_bytes_per_s(), "source": "measured: read and written by one core copying 64 MiB with numpy"},
        "memory_bytes": {"value": _memory_bytes(root), "source": "/proc/meminfo"},
        **_caches(root),
    }
    return {"title": board or model, "machine": platform.machine(), "chip": chip}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _cpuinfo(root: Path) -> dict[str, str]:
    """First value of every field: those of the first core, and of the board where Arm writes them at the end."""
    found: dict[str, str] = {}
    for line in _text(root / "proc/cpuinfo").splitlines():
        key, colon, value = line.partition(":")
        if colon and value.strip():
            found.setdefault(key.strip(), value.strip())
    return found


def _clock(root: Path, fields: dict[str, str]) -> dict[str, Any]:
    limits = [_text(path) for path in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/cpuinfo_max_freq")]
    known = [int(text) for text in limits if text.isdigit()]
    if known:
        return {"value": 1e3 * max(known), "source": "cpuinfo_max_freq of the fastest core"}
    if re.fullmatch(r"[0-9.]+", fields.get("cpu MHz", "")):
        return {"value": float(fields["cpu MHz"]) * 1e6, "source": "/proc/cpuinfo"}
    return {"value": 1.5e9, "source": "assumption: the device does not tell its clock"}


def _memory_bytes(root: Path) -> int:
    match = re.search(r"MemTotal:\s+(\d+) kB", _text(root / "proc/meminfo"))
    return int(match[1]) * 1024 if match else 2**30


def _caches(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for index in sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index*")):
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
