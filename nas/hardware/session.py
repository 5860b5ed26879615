"""Measuring on a device, whatever leads to it: jobs are asked, broken connections made again, every answer counted once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas import plugins
from nas.config import EnergyProtocol, MeasureProtocol
from nas.errors import DisturbedError, InputError, LinkLostError, MeterError, ModelFileError, TargetError, UnknownNameError
from nas.hardware.jobs import PROTOCOL
from nas.hardware.measure_energy import EnergyMeasurement
from nas.hardware.measurement import Measurement
from nas.hardware.runtimes.base import Inspection
from nas.hardware.transports.base import Transport
from nas.target import Target

__all__ = ["Measured", "Patience", "RefusedError", "Session", "open_transport"]

_ANSWER_S = 900.0


class RefusedError(TargetError):
    """The device answers that it cannot do this job; another one it may."""


_KINDS: Mapping[str, type[InputError] | type[TargetError]] = {
    "disturbed": DisturbedError, "meter": MeterError, "model": ModelFileError, "input": InputError,
    "target": RefusedError, "internal": RefusedError,
}  # fmt: skip


def open_transport(address: str, key: str) -> Transport:
    """The transport for "local" or ssh://user@host.

    Args:
        key: names the measuring: letters, digits, - and _.

    Raises:
        UnknownNameError: no transport of that scheme.
        InputError: an address that is none.
    """
    scheme = address.split("://", 1)[0]
    made: Transport = plugins.load("transports", scheme)(address, key)
    return made


@dataclass(frozen=True, slots=True)
class Measured:
    """A network measured on a device.

    Attributes:
        version: of the runtime there.
        precision: that it really ran in.
        foreign: operators that did not run natively.
        cores: that it was pinned to; empty where the device cannot pin.
        peak_memory_bytes: resident memory that loading and running it added at most; 0 where the device does not tell.
    """

    measurement: Measurement
    version: str
    precision: str
    foreign: tuple[str, ...] = ()
    cores: tuple[int, ...] = ()
    peak_memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a device is waited for.

    Attributes:
        pauses_s: before each try to connect again; their sum is more than a small board takes to reboot.
        tries: of one job; a job that ends the runner every time is given up.
    """

    pauses_s: tuple[float, ...] = (1, 2, 4, 8, 15, 30, 30, 30)
    tries: int = 3
    wait: Callable[[float], None] = field(default=time.sleep)


class Session:
    """A device that is measured on: a context manager that cleans up there.

    Args:
        transport: to the device.
        on_note: told when the connection is made again.
        patience: with a device that is away.
    """

    def __init__(self, transport: Transport, on_note: Callable[[str], None], patience: Patience | None = None) -> None:
        self._transport = transport
        self._note = on_note
        self._patience = patience or Patience()
        self._placed: dict[str, Path] = {}
        self._unsaved: set[str] = set()
        self.hello: Mapping[str, Any] = {}

    def __enter__(self) -> Session:
        try:
            self.hello = self._transport.connect()
        except BaseException:
            self._transport.close()
            raise
        if self.hello.get("protocol") != PROTOCOL:
            self._transport.close(keep=True)
            raise TargetError(f"{self._transport.address} speaks protocol {self.hello.get('protocol')}, not {PROTOCOL}: upgrade hwnas")
        return self

    def __exit__(self, *_: object) -> None:
        # An answer that could not be saved here (a full disk) stays on the device: the next measuring finds it.
        self._transport.close(keep=bool(self._unsaved))

    def version(self, runtime: str, precision: str) -> str:
        """Version of a runtime there.

        Raises:
            UnknownNameError: there is no runtime of that name.
            TargetError: it is not installed there.
            InputError: it does not run in that precision.
        """
        runtimes = self.hello["runtimes"]
        base = runtime if runtime in runtimes else runtime.split("-", 1)[0]
        if base not in runtimes:
            known = plugins.names("runtimes")
            if base not in known:
                raise UnknownNameError("runtime", runtime, {*known, *runtimes})
            install = f"{self.hello.get('executable', 'python3')} -m pip install {base}"
            raise TargetError(f"{self._transport.address} has {', '.join(runtimes)}, not {base}: run there: {install}")
        # A part of the hardware has precisions of its own: "onnxruntime-xnnpack".
        told = runtimes.get(runtime) or self._ask({"id": f"runtime {runtime}", "op": "runtime", "runtime": runtime})
        if precision not in told["precisions"]:
            raise InputError(f"{runtime} on {self._transport.address} runs {' and '.join(told['precisions'])}, not {precision}")
        return str(told["version"])

    def facts(self) -> Mapping[str, Any]:
        """Facts of the chip, see `nas.hardware.chip.chip_facts`."""
        facts: Mapping[str, Any] = self._ask({"id": "facts", "op": "facts"})["facts"]
        return facts

    def place(self, path: Path) -> str:
        """Copies a model there, under a name made of its content; the file must stay until `forget`."""
        name = f"{hashlib.sha256(path.read_bytes()).hexdigest()[:24]}{path.suffix}"
        if name not in self._placed:
            self._again(lambda: self._transport.put(path, name))
            self._placed[name] = path
        return name

    def inspect(self, model: Path, target: Target) -> Inspection:
        """What the runtime there will do with a model; nothing is timed."""
        job = {"op": "inspect", "model": self.place(model), "runtime": target.runtime, "threads": target.threads}
        answer = self._ask({"id": f"inspect {job['model']}", **job})
        ops = tuple((str(name), int(count)) for name, count in answer["ops"])
        return Inspection(str(answer["precision"]), ops, tuple(answer["foreign"]))

    def measure(self, name: str, model: Path, anchor: Path | None, target: Target, protocol: MeasureProtocol) -> Measured:
        """Measures a model there.

        Args:
            name: of the job: the same name gives the same answer until it is forgotten.
            anchor: model that the windows stand between.

        Raises:
            DisturbedError: the device was too busy, hot or asleep.
            ModelFileError, RefusedError: it cannot run this model.
            TargetError: it cannot be reached any more, or has no room.
        """
        job = {
            "id": name, "op": "measure", "runtime": target.runtime, "threads": target.threads, "model": self.place(model),
            "anchor": None if anchor is None else self.place(anchor), "protocol": protocol.model_dump(mode="json"),
        }  # fmt: skip
        answer = self._ask(job)
        self._unsaved.add(name)
        return Measured(
            Measurement.from_dict(answer["measurement"]), str(answer["version"]), str(answer["precision"]), tuple(answer["foreign"]),
            tuple(answer["cores"]), int(answer["peak_memory_bytes"]),
        )  # fmt: skip

    def meters(self, spec: str | None = None) -> list[Mapping[str, Any]]:
        """The energy meters there, see `nas.hardware.meters.loading.MeterStatus`; one by name and argument, or all.

        Raises:
            InputError: there is no meter of that name.
        """
        job = {"op": "meters"} if spec is None else {"op": "meters", "meter": spec}
        found: list[Mapping[str, Any]] = self._ask({"id": f"meters {spec or ''}", **job})["meters"]
        return found

    def measure_energy(
        self, name: str, model: Path, target: Target, protocol: EnergyProtocol, meter: str, most_w: float | None
    ) -> EnergyMeasurement:
        """Energy of a model there, in a run of its own.

        Args:
            name: of the job, as for `measure`.
            meter: name of an energy meter, with its argument.
            most_w: watts that the device cannot draw.

        Raises:
            MeterError: the meter does not work, or died.
            DisturbedError: what it said does not count.
        """
        job = {
            "id": name, "op": "energy", "runtime": target.runtime, "threads": target.threads, "model": self.place(model),
            "meter": meter, "most_w": most_w, "protocol": protocol.model_dump(mode="json"),
        }  # fmt: skip
        answer = self._ask(job)
        self._unsaved.add(name)
        return EnergyMeasurement.from_dict(answer["energy"])

    def forget(self, name: str, model: Path) -> None:
        """The answer is safe here: the device may drop it, and the model."""
        self._unsaved.discard(name)
        placed = [each for each, path in self._placed.items() if path == model]
        self._ask({"id": f"forget {name}", "op": "forget", "ids": [name], "models": placed})
        for each in placed:
            del self._placed[each]

    def _ask(self, job: Mapping[str, Any]) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = {}

        def ask() -> None:
            nonlocal answer
            answer = self._transport.ask(job, _ANSWER_S)

        self._again(ask)
        if answer.get("ok"):
            return answer
        message = f"{self._transport.address}: {answer.get('message')}"
        if answer.get("kind") == "disk":
            raise TargetError(f"{message}: free some space there and run the same command again")
        raise _KINDS.get(str(answer.get("kind")), TargetError)(message)

    def _again(self, act: Callable[[], None]) -> None:
        """Does something that needs the connection, and makes that again where it broke."""
        for left in reversed(range(self._patience.tries)):
            try:
                act()
                return
            except LinkLostError as exc:
                if not left:
                    raise DisturbedError(f"{exc}: it broke {self._patience.tries} times at the same job") from exc
                self._note(f"{exc}: connecting again")
                self._reconnect()
        raise AssertionError("unreachable")

    def _reconnect(self) -> None:
        error: LinkLostError | None = None
        for pause_s in self._patience.pauses_s:
            self._patience.wait(pause_s)
            try:
                self.hello = self._transport.connect()
                for name, path in self._placed.items():
                    self._transport.put(path, name)
                return
            except LinkLostError as exc:
                error = exc
        raise TargetError(f"{error}: gave up; what was measured is kept, the same command goes on")
