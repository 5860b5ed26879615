"""The machine that this runs on, as a device profile: facts are detected, what cannot be is assumed by class and says so."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from nas.hardware.profile import HOST, DeviceProfile, parse_profile

__all__ = ["detect_host"]

_CPUINFO = Path("/proc/cpuinfo")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")
# (flags that a core must have, peak fp32 multiply-adds a cycle, words): vector lanes times two fused multiply-add pipes.
_SIMD = (
    (("avx512f",), 32, "AVX-512"),
    (("avx2", "fma"), 16, "AVX2 with FMA"),
    (("asimddp",), 8, "NEON 128 bit with dot product"),
    (("asimd",), 4, "NEON 128 bit"),
)
_FALLBACK_CLOCK_HZ = 2e9
_TURBO = 1.4  # of a virtual machine's nominal clock, typical of servers


def _cpu_fields() -> dict[str, str]:
    """Fields of the first core in /proc/cpuinfo; empty where there is none (not Linux)."""
    try:
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in text.split("\n\n", 1)[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _clock(fields: dict[str, str]) -> tuple[float, str]:
    """Hertz and where they are from."""
    try:
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError, RuntimeError):
        frequency = None
    if frequency is not None and frequency.max:
        return frequency.max * 1e6, "psutil: highest clock"
    if frequency is not None and frequency.current:
        return _TURBO * frequency.current * 1e6, f"psutil's current clock times {_TURBO:g}: the turbo is not told"
    if re.fullmatch(r"[0-9.]+", fields.get("cpu MHz", "")):
        return float(fields["cpu MHz"]) * 1e6, "/proc/cpuinfo"
    return _FALLBACK_CLOCK_HZ, "assumption: the machine does not tell its clock"


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _caches() -> dict[str, dict[str, object]]:
    """Data cache sizes of the first core from /sys, bytes."""
    found: dict[str, dict[str, object]] = {}
    for index in sorted(_CACHES.glob("index*")):
        try:
            level, kind = (index / "level").read_text().strip(), (index / "type").read_text().strip()
            size = (index / "size").read_text().strip()
        except OSError:
            continue
        match = re.fullmatch(r"(\d+)([KM])", size)
        if match and kind in ("Data", "Unified"):
            name = "l1d_bytes" if level == "1" else f"l{level}_bytes"
            if name in ("l1d_bytes", "l2_bytes", "l3_bytes"):
                found[name] = {"value": int(match[1]) * (1024 if match[2] == "K" else 1024**2), "source": str(index)}
    return found


def _power(cores: int, arm: bool) -> dict[str, object]:
    """Watts by class of machine: wide, because nothing was measured."""
    idle, per_core = (3.0, 1.0) if arm else (10.0, 8.0)
    kind = "a single-board computer" if arm else "a desktop, laptop or server share"
    return {
        "scope": "board",
        "watts": {0: idle, 1: idle + per_core, cores + 1: idle + per_core * (cores + 1)},
        "spread": 2.5,
        "assumed": True,
        "source": f"assumption for {kind}: {idle:g} W and {per_core:g} W a busy core; nothing was measured",
    }


def _runtimes() -> dict[str, str]:
    """Installed runtimes of this package and their versions, nothing of them loaded."""
    found = {}
    for name in ("onnxruntime", "openvino"):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def detect_host(root: Path | None = None) -> DeviceProfile:
    """The profile of this machine.

    Its measurements and predictors live in `root`/host/<fingerprint>: those of another machine, core count or version of a runtime are
    never taken for this one's. Its runtimes are those that are installed; int8 is offered once it has been measured.

    Args:
        root: ./hw_profiles by default.
    """
    fields = _cpu_fields()
    model = fields.get("model name") or fields.get("Model") or platform.processor() or platform.machine() or "unknown CPU"
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    arm = platform.machine().lower() in ("aarch64", "arm64", "armv7l")
    macs_per_cycle, simd = next(((macs, words) for needed, macs, words in _SIMD if flags.issuperset(needed)), (4, "unknown"))
    clock_hz, clock_source = _clock(fields)
    cores, versions = _cores(), _runtimes()
    # Clocks move with load and are left out: the fingerprint must not.
    installed = "|".join(f"{name} {version}" for name, version in versions.items())
    fingerprint = hashlib.sha256(f"{model}|{cores}|{simd}|{installed}".encode()).hexdigest()[:8]
    data: dict[str, Any] = {
        "schema": 1,
        "name": HOST,
        "title": f"This machine ({model}, {cores} cores)",
        "aliases": ["localhost", "this"],
        "chip": {
            "cpu": {"value": model, "source": str(_CPUINFO) if fields else "platform"},
            "cores": {"value": cores, "source": "cores that this process may use"},
            "clock_hz": {"value": clock_hz, "source": clock_source},
            "simd": {"value": simd, "source": str(_CPUINFO) if flags else "assumption"},
            "macs_per_cycle": {"value": macs_per_cycle, "source": "vector lanes times fused multiply-add pipes, by class"},
            "memory_bytes_per_s": {"value": 8e9 if arm else 40e9, "source": "assumption by class of machine, caches included"},
            "memory_bytes": {"value": psutil.virtual_memory().total, "source": "psutil"},
            **_caches(),
        },
        "runtimes": {name: {"version": version, "precisions": ["fp32"]} for name, version in versions.items()},
        "default": {"runtime": "onnxruntime", "precision": "fp32", "threads": 1},
        "power": _power(cores, arm),
        "unknown": [
            "watts: an assumption by class with a spread of x/÷ 2.5"
            + ("; a RAPL counter is there but is not read yet" if _RAPL.exists() else ", there is no energy counter"),
            "latency until networks are measured: a roofline from chip facts, band x/÷ 3",
            "governor, temperature and other tenants of the machine while it measures",
        ],
    }
    folder = (Path.cwd() / "hw_profiles" if root is None else root) / HOST / fingerprint
    return parse_profile(data, folder, "this machine")
