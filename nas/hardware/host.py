"""The machine that this runs on, as a device profile: facts are detected, what cannot be is assumed by class and says so."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from nas.hardware.chip import is_arm, told_facts
from nas.hardware.facts import can_be
from nas.hardware.newcomer import assumed_power
from nas.hardware.profile import HOST, HOST_ALIASES, NAME, DeviceProfile, parse_profile
from nas.target import PRECISIONS

__all__ = ["detect_host"]

_RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")
_FALLBACK_CLOCK_HZ = 2e9
_ASSUMED_MEMORY = "assumption by class of machine, caches included"


def _clock() -> dict[str, object]:
    """Where /proc and /sys do not tell it: not Linux."""
    frequency = None
    with suppress(OSError, NotImplementedError, RuntimeError, SystemError):  # the last one on Apple's M5, psutil 7.2
        frequency = psutil.cpu_freq()
    if frequency is not None and can_be("clock_hz", frequency.max * 1e6):  # on an M4 it is in GHz
        return {"value": frequency.max * 1e6, "source": "psutil: highest clock"}
    return {"value": _FALLBACK_CLOCK_HZ, "kind": "modelled", "source": "assumption: the machine does not tell its clock"}


def _runtimes() -> dict[str, str]:
    """Installed runtimes of this package and their versions, nothing of them loaded."""
    found = {}
    for name in ("onnxruntime", "openvino"):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _measured(folder: Path) -> dict[str, list[str]]:
    """Runtimes that were measured here and their precisions, by the names of the files (`nas.hardware.rows.rows_path`)."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.glob("measurements/*-*-*t.csv")):
        name, precision, _ = path.stem.rsplit("-", 2)
        if re.fullmatch(NAME, name) and precision in PRECISIONS and precision not in found.setdefault(name, []):
            found[name].append(precision)
    return found


def detect_host(root: Path | None = None) -> DeviceProfile:
    """The profile of this machine.

    Its measurements and predictors live in `root`/host/<fingerprint>: those of another machine, core count or version of a runtime are
    never taken for this one's. Its runtimes are those that are installed, and others that have been measured (plug-ins, "openvino-gpu");
    int8 is offered once it has been measured. The speed of its memory is assumed: every command detects the host, and a measured one
    would take a while and differ each time.

    Args:
        root: ./hw_profiles by default.
    """
    facts, versions = told_facts(), _runtimes()
    chip = {name: fact for name, fact in facts["chip"].items() if can_be(name, fact["value"])}
    arm = is_arm(facts["machine"])
    model, cores = chip["cpu"]["value"], chip["cores"]["value"]
    # Clocks move with load and are left out: the fingerprint must not.
    installed = "|".join(f"{name} {version}" for name, version in versions.items())
    fingerprint = hashlib.sha256(f"{model}|{cores}|{chip['simd']['value']}|{installed}".encode()).hexdigest()[:8]
    folder = (Path.cwd() / "hw_profiles" if root is None else root) / HOST / fingerprint
    others = {name: precisions for name, precisions in _measured(folder).items() if name not in versions}
    data: dict[str, Any] = {
        "schema": 1,
        "name": HOST,
        "title": f"This machine ({model}, {cores} cores)",
        "aliases": list(HOST_ALIASES),
        "chip": {
            "clock_hz": chip.get("clock_hz") or _clock(),
            "memory_bytes": {"value": psutil.virtual_memory().total, "source": "psutil"},
            **chip,
            "memory_bytes_per_s": {"value": 8e9 if arm else 40e9, "kind": "modelled", "source": _ASSUMED_MEMORY},
        },
        "runtimes": {
            **{name: {"version": version, "precisions": ["fp32"]} for name, version in versions.items()},
            **{name: {"version": "unknown", "precisions": precisions} for name, precisions in others.items()},
        },
        "default": {"runtime": "onnxruntime", "precision": "fp32", "threads": 1},
        "power": assumed_power(cores, arm),
        "unknown": [
            "watts: an assumption by class with a spread of x/÷ 2.5"
            + ("; nas measure reads the RAPL counter and replaces it" if _RAPL.exists() else ", there is no energy counter"),
            "latency until networks are measured: a roofline from chip facts, band x/÷ 3",
            "governor, temperature and other tenants of the machine while it measures",
        ],
    }
    return parse_profile(data, folder, "this machine")
