"""What works on this machine. Works with the base install."""

from __future__ import annotations

import os
import platform
import sqlite3
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from nas.errors import NasError

__all__ = ["Check", "checks"]

EXTRAS = {"search": ("torch", "optuna", "mlflow", "scikit-learn", "onnx", "openvino")}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        text: what was found, or why it is absent and what to do.
    """

    name: str
    ok: bool
    text: str

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def checks(runs: Path) -> list[Check]:
    """Everything worth knowing before a search or a measurement.

    Args:
        runs: folder of all studies, there or not yet.
    """
    return [_python(), _machine(runs), *_runtimes(), *_libraries(), _storage(runs), _tracking(runs), _governor(), *_meters()]


def _python() -> Check:
    return Check("python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _machine(runs: Path) -> Check:
    import psutil

    from nas.hardware.host import detect_host

    memory = psutil.virtual_memory()
    free = psutil.disk_usage(str(_there(runs))).free
    text = (
        f"{detect_host().title}, {memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB memory free, "
        f"{free / 2**30:.0f} GiB of disk for {runs}"
    )
    return Check("machine", True, text)


def _runtimes() -> list[Check]:
    """Every runtime, those of plug-ins too."""
    from nas.hardware.runtimes.loading import load_runtime, runtime_names
    from nas.hardware.runtimes.onnxruntime import providers

    found = []
    for name in runtime_names():
        try:
            runtime = load_runtime(name)
            text = f"{runtime.version()}, {' and '.join(runtime.precisions())}"
            text += f", providers {', '.join(providers())}" if name == "onnxruntime" else ""
        except (ImportError, NasError) as exc:
            found.append(Check(name, False, str(exc)))
        else:
            found.append(Check(name, True, text))
    return found


def _libraries() -> list[Check]:
    found = []
    for extra, names in EXTRAS.items():
        missing, have = [], []
        for name in names:
            try:
                have.append(f"{name} {version(name)}")
            except PackageNotFoundError:
                missing.append(name)
        text = ", ".join(have) if not missing else f'{", ".join(missing)} missing: pip install "hwnas[{extra}]"'
        found.append(Check(f"extra {extra}", not missing, text))
    return found


def _storage(runs: Path) -> Check:
    connection = sqlite3.connect(":memory:")
    connection.close()
    place = _there(runs)
    if not (place.is_dir() and os.access(place, os.W_OK)):
        return Check("storage", False, f"{place} cannot be written to: use --runs with another folder")
    return Check("storage", True, f"SQLite {sqlite3.sqlite_version}, {runs.absolute()} can be written to")


def _tracking(runs: Path) -> Check:
    """What its version tells: MLflow takes seconds to import, and its home is not there without the extra."""
    try:
        return Check("tracking", True, f"MLflow {version('mlflow')}, local store in {(runs / 'mlflow').absolute()}")
    except PackageNotFoundError:
        return Check("tracking", False, 'mlflow missing: pip install "hwnas[search]"')


def _there(runs: Path) -> Path:
    """The folder, or the nearest one above it that is there to be seen."""
    for each in (runs.absolute(), *runs.absolute().parents):
        with suppress(PermissionError):
            if each.exists():
                return each
    return Path.cwd()


def _governor() -> Check:
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    try:
        governor = path.read_text().strip()
    except OSError:
        return Check("cpu governor", False, "not told by this machine: clocks may move while measuring")
    advice = "" if governor == "performance" else ": latencies vary less with performance"
    return Check("cpu governor", True, governor + advice)


def _meters() -> list[Check]:
    """Every energy meter, and why it does not work where it does not."""
    from nas.hardware.meters.loading import meter_names, meter_status

    found = []
    for name in meter_names():
        status = meter_status(name)
        use = "used by nas measure" if status.is_automatic else f"nas measure --energy {name}"
        found.append(Check(f"energy: {name}", status.works, f"{status.scope}, {use}" if status.works else status.why))
    if not any(check.ok for check in found):
        found.append(Check("energy", False, "no meter works here: energy is modelled as power x time"))
    return found
