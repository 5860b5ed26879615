"""What a device does for whoever measures on it: jobs in, answers out, each a mapping that fits a line of JSON.

A job has an id, and its answer is kept in a file until the other side says that it has it: asked again after a broken connection or a
reboot, the device answers from the file, so that nothing is measured twice and nothing is lost. An HTTP agent can serve the same jobs.

This file also runs on the device, without the rest of the package: Python 3.9, numpy and a runtime (see `transports.bundle`).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np

from nas.errors import DisturbedError, InputError, MeterError, ModelFileError, NasError, TargetError
from nas.hardware.chip import chip_facts
from nas.hardware.device_state import memory_bytes, pinned, reset_peak_memory
from nas.hardware.measure import Machine, measure
from nas.hardware.measure_energy import measure_energy
from nas.hardware.meters.base import EnergyMeter
from nas.hardware.meters.loading import AUTO, meter_names, meter_status, open_meter
from nas.hardware.runtimes.base import Runtime
from nas.hardware.runtimes.loading import load_runtime, runtime_names

__all__ = ["PROTOCOL", "Jobs", "hello"]

PROTOCOL = 1
"""Version of the jobs and answers."""

_KINDS: tuple[tuple[type[Exception], str], ...] = (
    (DisturbedError, "disturbed"), (MeterError, "meter"), (TargetError, "target"), (ModelFileError, "model"), (InputError, "input"),
    (NasError, "target"),
)  # fmt: skip

T = TypeVar("T")
Opened = tuple[Callable[[], None], AbstractContextManager[Any]]


def hello() -> dict[str, Any]:
    """What is here: versions of Python, numpy and the runtimes with their precisions."""
    runtimes = {}
    for name in runtime_names():
        with suppress(Exception):  # whatever is wrong with a runtime, the others may serve
            runtime = load_runtime(name)
            runtimes[name] = {"version": runtime.version(), "precisions": list(runtime.precisions())}
    return {
        "id": "hello", "ok": True, "protocol": PROTOCOL, "python": platform.python_version(), "executable": sys.executable,
        "numpy": np.__version__, "machine": platform.machine(), "pid": os.getpid(), "runtimes": runtimes,
    }  # fmt: skip


class Jobs:
    """Answers jobs.

    Args:
        home: folder with models/ (put there by the other side) and results/.
        load: gives a runtime by name.
        machine: whose clocks; this one's by default.
        meter: gives an energy meter that works by name.
    """

    def __init__(
        self, home: Path, load: Callable[[str], Runtime] = load_runtime, machine: Machine | None = None,
        meter: Callable[[str], EnergyMeter] = open_meter,
    ) -> None:  # fmt: skip
        self._home = home
        self._load = load
        self._machine = machine
        self._open_meter = meter
        self._meters: dict[str, EnergyMeter] = {}
        self._anchors: dict[tuple[str, str, int], Opened] = {}
        for name in ("models", "results"):
            (home / name).mkdir(parents=True, exist_ok=True)

    def answer(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to {"id", "op", ...}: {"id", "ok": true, ...}, or {"id", "ok": false, "kind", "message"}. Never raises."""
        name = str(job.get("id", ""))
        try:
            known: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
                "facts": self._facts, "runtime": self._runtime, "inspect": self._inspect, "meters": self._list_meters,
                "measure": partial(self._kept, self._measure), "energy": partial(self._kept, self._energy), "forget": self._forget,
            }  # fmt: skip
            operation = known.get(str(job.get("op")))
            if operation is None:
                raise InputError(f"unknown job {job.get('op')!r}: known are {', '.join(known)}")
            return {"id": name, "ok": True, **operation(job)}
        except OSError as exc:
            full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
            return {
                "id": name,
                "ok": False,
                "kind": "disk" if full else "target",
                "message": f"{exc.filename or self._home}: {exc.strerror}",
            }
        except Exception as exc:
            kind = next((kind for cls, kind in _KINDS if isinstance(exc, cls)), "internal")
            told = str(exc) if isinstance(exc, NasError) else f"{type(exc).__name__}: {exc}"
            return {"id": name, "ok": False, "kind": kind, "message": told}

    def close(self) -> None:
        """Closes the anchors and the meters."""
        self._close_anchors()
        while self._meters:
            self._meters.popitem()[1].close()

    def _close_anchors(self) -> None:
        while self._anchors:
            self._anchors.popitem()[1][1].__exit__(None, None, None)

    def _facts(self, job: Mapping[str, Any]) -> dict[str, Any]:
        del job
        return {"facts": chip_facts()}

    def _runtime(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """What `hello` says of a runtime, of one with a part of the hardware in its name too."""
        runtime = self._load(_field(job, "runtime", str))
        return {"version": runtime.version(), "precisions": list(runtime.precisions())}

    def _inspect(self, job: Mapping[str, Any]) -> dict[str, Any]:
        runtime = self._load(_field(job, "runtime", str))
        found = runtime.inspect(self._model(_field(job, "model", str)), _field(job, "threads", int))
        return {"version": runtime.version(), "precision": found.precision, "ops": list(found.ops), "foreign": list(found.foreign)}

    def _list_meters(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Every energy meter, and why it does not work where it does not; the named one alone where the job names one."""
        return {"meters": [asdict(meter_status(spec)) for spec in ([_field(job, "meter", str)] if "meter" in job else meter_names())]}

    def _kept(self, act: Callable[[Mapping[str, Any]], dict[str, Any]], job: Mapping[str, Any]) -> dict[str, Any]:
        """Measures, or reads what was measured under this id before."""
        path = self._result(_field(job, "id", str))
        with suppress(OSError, ValueError):
            return {**json.loads(path.read_text(encoding="utf-8")), "kept": True}
        found = act(job)
        temporary = path.with_suffix(".tmp")
        with suppress(OSError):  # a full disk: the answer still goes out, it just cannot be asked for again
            with temporary.open("w", encoding="utf-8") as handle:
                json.dump(found, handle)
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(path)
        return found

    def _measure(self, job: Mapping[str, Any]) -> dict[str, Any]:
        threads, protocol = _field(job, "threads", int), _field(job, "protocol", _protocol)
        runtime = self._load(_field(job, "runtime", str))
        model = self._model(_field(job, "model", str))
        with ExitStack() as stack:
            cores = stack.enter_context(pinned(threads))
            anchor = self._anchor(job, runtime, threads)
            used = runtime.inspect(model, threads)
            reset_peak_memory()
            before, _ = memory_bytes()
            run = stack.enter_context(runtime.open(model, threads))
            run()
            _, peak = memory_bytes()
            measured = measure(run, protocol, anchor, self._machine)
        return {
            "version": runtime.version(), "precision": used.precision, "foreign": list(used.foreign), "cores": list(cores),
            "peak_memory_bytes": max(0, peak - before), "measurement": measured.to_dict(),
        }  # fmt: skip

    def _energy(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """As `_measure`, but joules: a run of its own, so that no meter runs beside a clock."""
        threads, spec, protocol = _field(job, "threads", int), _field(job, "meter", str), _field(job, "protocol", _protocol)
        runtime, model = self._load(_field(job, "runtime", str)), self._model(_field(job, "model", str))
        with pinned(threads), runtime.open(model, threads) as run:
            try:
                if spec not in self._meters:
                    self._meters[spec] = self._open_meter(spec)
                meter = self._meters[spec]
                name = meter.name if spec == AUTO else spec
                measured = measure_energy(run, protocol, meter, name, job.get("most_w"), self._machine)
            except DisturbedError:
                raise
            except Exception:
                # A window may be open, or the meter may be plugged in again: the next network opens it anew.
                if spec in self._meters:
                    self._meters.pop(spec).close()
                raise
        return {"version": runtime.version(), "energy": measured.to_dict()}

    def _anchor(self, job: Mapping[str, Any], runtime: Runtime, threads: int) -> Callable[[], None] | None:
        """The anchor stays open from job to job; another one closes it."""
        if job.get("anchor") is None:
            return None
        key = (_field(job, "runtime", str), _field(job, "anchor", str), threads)
        if key not in self._anchors:
            self._close_anchors()
            opened = runtime.open(self._model(key[1]), threads)
            self._anchors[key] = (opened.__enter__(), opened)
        return self._anchors[key][0]

    def _forget(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Removes kept answers and models that the other side is done with."""
        for name in _field({"ids": (), **job}, "ids", tuple):
            self._result(str(name)).unlink(missing_ok=True)
        for name in _field({"models": (), **job}, "models", tuple):
            self._model(str(name)).unlink(missing_ok=True)
        return {}

    def _result(self, name: str) -> Path:
        """Where the answer to a job is kept."""
        return self._home / "results" / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.json"

    def _model(self, name: str) -> Path:
        if Path(name).name != name or name.startswith("."):
            raise InputError(f"a model is named by its file in models/, got {name!r}")
        return self._home / "models" / name


def _field(job: Mapping[str, Any], name: str, read: Callable[[Any], T]) -> T:
    """A field of a job.

    Raises:
        InputError: it is absent or of another kind.
    """
    try:
        return read(job[name])
    except (KeyError, TypeError, ValueError) as exc:
        raise InputError(f"a job that is not whole: {exc!r}") from exc


def _protocol(fields: Mapping[str, Any]) -> Any:
    return SimpleNamespace(**fields)
