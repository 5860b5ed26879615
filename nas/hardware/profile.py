"""Device profiles: what is known of a device, with its source. `hw_profiles/<device>/profile.yaml`, or detected for `host`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from nas.errors import InputError, ProfileError, UnknownNameError
from nas.hardware.predictor import LatencyPredictor, SpeedUp
from nas.hardware.predictor_file import load_predictor
from nas.hardware.reading import read_as
from nas.hardware.roofline import CoreFacts, roofline
from nas.resources import find, listing
from nas.target import PRECISIONS, Target

__all__ = ["Chip", "DeviceProfile", "Fact", "Power", "PredictorEntry", "RuntimeEntry", "load_profile", "parse_profile", "profile_names"]

HOST = "host"
_PATTERN = "*/profile.yaml"
# What roofline takes for other thread counts where nothing was measured: the published median of four Cortex-A72 (FINDINGS 6).
_TYPICAL_SPEEDUP = SpeedUp(4, 1.68, 1.51, 2.03, "ncnn's published tables, Raspberry Pi 4")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Fact(_Strict):
    """A value and who says so."""

    value: str | int | float
    source: str = Field(min_length=1)


class Amount(Fact):
    """A positive number and who says so."""

    value: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Chip(_Strict):
    """Facts of the chip, SI units; caches and bandwidth are of one core unless the source says otherwise.

    Attributes:
        macs_per_cycle: peak fp32 multiply-adds per cycle and core.
        memory_bytes_per_s: read and written by one core copying memory.
    """

    cpu: Fact
    cores: Amount
    clock_hz: Amount
    simd: Fact
    macs_per_cycle: Amount
    memory_bytes_per_s: Amount
    memory_bytes: Amount
    l1d_bytes: Amount | None = None
    l2_bytes: Amount | None = None
    l3_bytes: Amount | None = None

    def core(self) -> CoreFacts:
        return CoreFacts(self.clock_hz.value, self.macs_per_cycle.value, self.memory_bytes_per_s.value)


class RuntimeEntry(_Strict):
    """A runtime of the device: its version ("unknown" where no source states it) and the precisions that really run."""

    version: str = Field(min_length=1)
    precisions: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _known(self) -> RuntimeEntry:
        for precision in self.precisions:
            if precision not in PRECISIONS:
                raise ValueError(f"unknown precision {precision!r}: known are {', '.join(PRECISIONS)}")
        return self


class Default(_Strict):
    """What a target is where the user says nothing."""

    runtime: str
    precision: str
    threads: int = Field(ge=1)


class Power(_Strict):
    """Watts by number of busy cores.

    Attributes:
        scope: what they cover.
        watts: by busy cores; 0 is idle. Between two counts they are interpolated.
        spread: x/÷ of the watts; 1 where they were measured.
        assumed: nobody measured this device: watts of its class.
    """

    scope: Literal["board"] = "board"
    watts: dict[int, float] = Field(min_length=2)
    spread: float = Field(1.0, ge=1.0, le=10.0)
    assumed: bool = False
    source: str = Field(min_length=1)

    @model_validator(mode="after")
    def _rising(self) -> Power:
        counts = sorted(self.watts)
        values = [self.watts[count] for count in counts]
        if counts[0] != 0:
            raise ValueError("watts need an entry for 0 busy cores (idle)")
        if values[0] <= 0 or values != sorted(values):
            raise ValueError(f"watts must be positive and not fall with busy cores, got {dict(zip(counts, values, strict=True))}")
        return self

    def at(self, busy_cores: int) -> float:
        """Watts with that many cores busy; the largest known count's beyond it."""
        counts = sorted(self.watts)
        if busy_cores >= counts[-1]:
            return self.watts[counts[-1]]
        upper = next(count for count in counts if count > busy_cores)
        lower = max(count for count in counts if count <= busy_cores)
        share = (busy_cores - lower) / (upper - lower)
        return self.watts[lower] + share * (self.watts[upper] - self.watts[lower])


class PredictorEntry(_Strict):
    """A predictor file that comes with the profile.

    Attributes:
        runtime: name, or "any" where the measurements do not say which it was.
        file: beside the profile.
        how: how it was made.
    """

    runtime: str
    precision: str
    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.json$")
    how: str = Field(min_length=1)


class DeviceProfile(_Strict):
    """A device. Immutable.

    Attributes:
        unknown: what is not known, one sentence each.
        folder: where its predictor files and measurements/ are.
    """

    schema_: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    title: str
    aliases: tuple[str, ...] = ()
    chip: Chip
    runtimes: dict[str, RuntimeEntry] = Field(min_length=1)
    default: Default
    power: Power
    predictors: tuple[PredictorEntry, ...] = ()
    unknown: tuple[str, ...] = ()
    _folder: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _holds_together(self) -> DeviceProfile:
        runtime = self.runtimes.get(self.default.runtime)
        if runtime is None:
            raise ValueError(f"default.runtime {self.default.runtime!r} is not in runtimes: {', '.join(self.runtimes)}")
        if self.default.precision not in runtime.precisions:
            raise ValueError(f"default.precision {self.default.precision!r} does not run: {', '.join(runtime.precisions)} do")
        if self.default.threads > self.cores:
            raise ValueError(f"default.threads {self.default.threads} are more than the chip's {self.cores} cores")
        if any(entry.runtime not in ("any", *self.runtimes) for entry in self.predictors):
            raise ValueError(f"predictors are for any runtime or one of {', '.join(self.runtimes)}")
        return self

    @property
    def cores(self) -> int:
        return int(self.chip.cores.value)

    @property
    def folder(self) -> Path:
        return self._folder

    def target(self, runtime: str | None = None, precision: str | None = None, threads: int | None = None) -> Target:
        """The target that these words mean; None takes the profile's default.

        Raises:
            UnknownNameError: a runtime that the profile does not have.
            InputError: a precision without a predictor, or more threads than cores or than the predictor can answer for.
        """
        runtime = runtime or self.default.runtime
        if runtime not in self.runtimes:
            raise UnknownNameError(f"runtime of {self.name}", runtime, self.runtimes)
        entry = self.runtimes[runtime]
        precision = precision or self.default.precision
        if precision not in entry.precisions:
            raise InputError(
                f"{self.name} with {runtime} has {' and '.join(entry.precisions)}, not {precision}: nothing was measured in it"
            )
        threads = self.default.threads if threads is None else threads
        if not 1 <= threads <= self.cores:
            raise InputError(f"{self.name} has {self.cores} cores: threads must be 1 to {self.cores}, got {threads}")
        target = Target(self.name, runtime, entry.version, precision, threads)
        counts = self.predictor(target).thread_counts()
        if threads not in counts:
            raise InputError(f"{self.name} knows latency with {', '.join(map(str, counts))} thread(s), got {threads}")
        return target

    def predictor_path(self, target: Target) -> Path:
        """Where the predictor fitted to this target's own measurements is, or would be."""
        return self.folder / f"predictor-{target.runtime}-{target.precision}-{target.threads}t.json"

    def predictor(self, target: Target) -> LatencyPredictor:
        """The best predictor there is: of the target's own measurements, else the profile's, else a roofline (band x/÷ 3).

        Raises:
            ProfileError: a predictor file that is absent or does not hold together.
        """
        if target.device != self.name:
            raise InputError(f"a target of {target.device} asked of the profile of {self.name}")
        own = self.predictor_path(target)
        if own.is_file():
            return load_predictor(own)
        for entry in self.predictors:
            if entry.runtime in ("any", target.runtime) and entry.precision == target.precision:
                return load_predictor(self.folder / entry.file)
        if target.precision != "fp32":
            raise InputError(f"{self.name} has no {target.precision} measurements yet, and none can be guessed from fp32: use fp32")
        speedup = _TYPICAL_SPEEDUP.at(target.threads)[0]
        return roofline(self.chip.core(), target.threads, speedup, f"chip facts of {self.title}: nothing was measured")


def profile_names() -> list[str]:
    """Names that `load_profile` takes, aliases aside, sorted."""
    return sorted({*listing("hw_profiles", _PATTERN), HOST})


def load_profile(name: str) -> DeviceProfile:
    """A profile by name, alias or path of its folder or file; `host` is detected.

    Raises:
        UnknownNameError: listing the nearest names, aliases included.
        ProfileError: a profile that does not hold together: file, key and value.
    """
    if name == HOST:
        from nas.hardware.host import detect_host

        return detect_host()
    known = listing("hw_profiles", _PATTERN)
    if name not in known and not Path(name).exists():
        aliases = {alias: path for path in known.values() for alias in _aliases(path)}
        if name.lower() not in aliases:
            raise UnknownNameError("device", name, [*known, *aliases, HOST], hint="(a path to a profile works too)")
        return _read(aliases[name.lower()])
    return _read(find("hw_profiles", _PATTERN, name, "device"))


def parse_profile(data: Mapping[str, Any], folder: Path, where: str) -> DeviceProfile:
    """Checks a profile and ties it to its folder.

    Raises:
        ProfileError: naming `where`, the key and the value.
    """
    profile = read_as(DeviceProfile, data, where)
    profile._folder = folder
    return profile


def _read(path: Path) -> DeviceProfile:
    profile = parse_profile(_yaml(path), path.parent, str(path))
    if profile.name != path.parent.name:
        raise ProfileError(f"{path}: name: must be the folder's, {path.parent.name!r}, got {profile.name!r}")
    return profile


def _aliases(path: Path) -> list[str]:
    """Aliases in a profile, whatever else is wrong with it: one broken profile must not hide the others."""
    try:
        aliases = _yaml(path).get("aliases", [])
    except ProfileError:
        return []
    return [str(alias).lower() for alias in aliases] if isinstance(aliases, list) else []


def _yaml(path: Path) -> Mapping[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise ProfileError(f"{path}: cannot be read: {exc}") from exc
    except yaml.YAMLError as exc:
        raise ProfileError(f"{path}: not valid YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(data, dict):
        raise ProfileError(f"{path}: a profile is a mapping, got {type(data).__name__}")
    return data
