"""Device profiles: what is known of a device, with its source. `hw_profiles/<device>/profile.yaml`, or detected for `host`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from nas.errors import InputError, ProfileError, UnknownNameError
from nas.hardware.energy import EnergyModel, PowerTimesLatency
from nas.hardware.energy_file import load_energy
from nas.hardware.facts import Chip, Default, Fact, Power, PredictorEntry, PublishedEntry, RuntimeEntry, Sibling, Strict
from nas.hardware.predictor import LatencyPredictor
from nas.hardware.predictor_file import load_predictor
from nas.hardware.reading import read_as
from nas.hardware.roofline import roofline
from nas.hardware.transfer import Published, Transferred, transfer, transfer_by_facts, unmeasured
from nas.resources import find, listing
from nas.target import Target
from nas.yaml_file import read_yaml

__all__ = [
    "NAME",
    "Chip",
    "DeviceProfile",
    "Fact",
    "Power",
    "PredictorEntry",
    "RuntimeEntry",
    "load_profile",
    "parse_profile",
    "profile_names",
]

NAME = r"^[a-z0-9][a-z0-9._-]*$"
"""Of a device, which names a folder, and of a runtime, which names files."""

HOST = "host"
HOST_ALIASES = ("localhost", "this")
_PATTERN = "*/profile.yaml"


class DeviceProfile(Strict):
    """A device. Immutable.

    Attributes:
        like: device of the nearest core that was measured: its predictor is what this one's is made from, where it has none.
        published: latencies of this device, or of its sibling, that give the scale.
        power: of the whole board, which an impact needs; None where nobody knows it.
        measured_power: of a part of it that was measured with networks; goes first for the threads that it knows.
        unknown: what is not known, one sentence each.
        folder: where its predictor files and measurements/ are.
    """

    schema_: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=NAME)
    title: str
    aliases: tuple[str, ...] = ()
    chip: Chip
    runtimes: dict[Annotated[str, Field(pattern=NAME)], RuntimeEntry] = Field(min_length=1)
    default: Default
    power: Power | None = None
    measured_power: Power | None = None
    predictors: tuple[PredictorEntry, ...] = ()
    like: str | None = None
    published: tuple[PublishedEntry, ...] = ()
    sibling: Sibling | None = None
    unknown: tuple[str, ...] = ()
    _folder: Path = PrivateAttr(default=Path())

    @field_validator("published")
    @classmethod
    def _said_once(cls, value: tuple[PublishedEntry, ...]) -> tuple[PublishedEntry, ...]:
        keys = [(row.model, row.threads) for row in value]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise ValueError(f"{twice[0][0]} with {twice[0][1]} thread(s) is given twice")
        return value

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
        if self.like is None and (self.published or self.sibling):
            raise ValueError("published and sibling need like: the device of the nearest measured core, e.g. raspberrypi4")
        if self.like in (self.name, HOST, *self.aliases):
            raise ValueError(f"like is another device of hw_profiles, got {self.like!r}")
        most = max((row.threads for row in self.published), default=1)
        if most > self.cores:
            raise ValueError(f"published has {most} threads, more than the chip's {self.cores} cores")
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
        threads = self.default.threads if threads is None else threads
        if not 1 <= threads <= self.cores:
            raise InputError(f"{self.name} has {self.cores} cores: threads must be 1 to {self.cores}, got {threads}")
        target = Target(self.name, runtime, entry.version, precision, threads)
        if self.predictor_path(target).is_file():
            return target
        if precision not in entry.precisions:
            raise InputError(
                f"{self.name} with {runtime} has {' and '.join(entry.precisions)}, not {precision}: nothing was measured in it"
            )
        self.predictor(target)
        return target

    def predictor_path(self, target: Target) -> Path:
        """Where the predictor fitted to this target's own measurements is, or would be."""
        return self.folder / f"predictor-{target.runtime}-{target.precision}-{target.threads}t.json"

    def predictor(self, target: Target) -> LatencyPredictor:
        """The best predictor there is: of the target's own measurements, else `prior`.

        Raises:
            ProfileError: a predictor file that is absent or does not hold together, or a `like` that cannot serve.
            InputError: a precision or a number of threads that nothing is known of.
        """
        own = self.predictor_path(target)
        return load_predictor(own) if target.device == self.name and own.is_file() else self.prior(target)

    def energy_path(self, target: Target) -> Path:
        """Where the energy predictor fitted to this target's own measurements is, or would be."""
        return self.folder / f"energy-{target.runtime}-{target.precision}-{target.threads}t.json"

    def energy_model(self, target: Target, together_with: Sequence[Target] = ()) -> EnergyModel | None:
        """The best energy model there is: of the target's own measured joules, else watts times latency; None without power data.

        Args:
            together_with: other targets of the same device whose joules are compared with these: all of them get one scope.

        Raises:
            ProfileError: a file that does not hold together.
        """
        targets = (target, *together_with)
        if all(self.energy_path(each).is_file() for each in targets):
            found = [load_energy(self.energy_path(each)) for each in targets]
            if len({each.scope for each in found}) == 1:
                return found[0]
        measured = self.measured_power
        is_known = measured is not None and all(1 <= each.threads <= max(measured.known(each.precision)) for each in targets)
        power = measured if is_known else self.power
        return None if power is None else PowerTimesLatency(power, target.threads, target.precision)

    def prior(self, target: Target) -> LatencyPredictor:
        """What is known without own measurements, and what a fit to them is pulled toward: the profile's predictor, else the nearest
        measured core's with a scale from published latencies or chip facts, else a roofline (band x/÷ 3).

        Raises:
            ProfileError, InputError: as `predictor`.
        """
        if target.device != self.name:
            raise InputError(f"a target of {target.device} asked of the profile of {self.name}")
        if found := self._shipped(target):
            return self._answering(found, target)
        if target.precision != "fp32":
            asked = f"--device {self.name} --runtime {target.runtime} --precision {target.precision} --threads {target.threads}"
            raise InputError(
                f"{self.name} has no {target.precision} measurements, and fp32 does not tell them: use fp32, or nas measure {asked}"
            )
        if self.like is not None:
            return self._transferred(self.like, target)
        faster, half_width = unmeasured(target.threads)
        return roofline(self.chip.core(), target.threads, faster, f"chip facts of {self.title}: nothing was measured", half_width)

    def prior_to_fit(self, target: Target) -> LatencyPredictor:
        """What a fit to a target's own measurements is pulled toward: `prior`, else that of the default runtime and precision (the fit
        scales it), else the chip's facts. Unlike `prior`, there is one for every target that can be measured.
        """
        usual = dataclasses.replace(target, runtime=self.default.runtime, precision=self.default.precision)
        for asked in (target, usual):
            try:
                return self.prior(asked)
            except InputError:
                continue
        return roofline(self.chip.core(), source=f"chip facts of {self.title}")

    def _shipped(self, target: Target) -> list[Transferred]:
        """Predictors that come with the profile, and the threads that each is for."""
        entries = [entry for entry in self.predictors if entry.is_for(target.runtime, target.precision)]
        loaded = [(entry, load_predictor(self.folder / entry.file)) for entry in entries]
        return [Transferred(predictor, entry.threads or predictor.thread_counts()) for entry, predictor in loaded]

    def _transferred(self, like: str, target: Target) -> LatencyPredictor:
        where = f"{self.folder / 'profile.yaml'}: like"
        try:
            other = load_profile(like)
            measured = other._shipped(Target(other.name, target.runtime, "unknown", "fp32", 1))
            source = next((each.predictor for each in measured if each.predictor.threads == 1), None)
            if source is None:
                raise ProfileError(f"like: {like} has no predictor of one thread that was measured: name raspberrypi4 or pixel3")
            if not self.published:
                return transfer_by_facts(source, other.chip.core(), self.chip.core(), target.threads, other.name)
            rows = [Published(row.model, row.threads, row.latency_s, row.runtime, row.may_be_half) for row in self.published]
            sibling, speed = (self.sibling.name, self.sibling.speed) if self.sibling else ("", 1.0)
            return self._answering(list(transfer(source, rows, self.cores, other.name, sibling, speed)), target)
        except UnknownNameError as exc:
            raise ProfileError(f"{where}: {exc}") from exc
        except ProfileError as exc:
            raise ProfileError(f"{self.folder / 'profile.yaml'}: {exc}") from exc

    def _answering(self, known: list[Transferred], target: Target) -> LatencyPredictor:
        for each in known:
            if target.threads in each.threads:
                return each.predictor
        counts = sorted({count for each in known for count in each.threads})
        raise InputError(f"{self.name} knows latency with {', '.join(map(str, counts))} thread(s), got {target.threads}")


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
    try:
        path = find("hw_profiles", _PATTERN, name, "device")
    except UnknownNameError:
        known = listing("hw_profiles", _PATTERN)
        aliases: dict[str, Path] = {}
        for profile in known.values():  # the user's own come first, with their aliases
            for alias in _aliases(profile):
                aliases.setdefault(alias, profile)
        if name.lower() not in aliases:
            if name.lower() in HOST_ALIASES:
                return load_profile(HOST)
            raise UnknownNameError("device", name, [*known, HOST], hint="(a path to a profile works too)", aliases=aliases) from None
        path = aliases[name.lower()]
    return _read(path)


def parse_profile(data: Mapping[str, Any], folder: Path, where: str) -> DeviceProfile:
    """Checks a profile and ties it to its folder.

    Raises:
        ProfileError: naming `where`, the key and the value.
    """
    profile = read_as(DeviceProfile, data, where)
    profile._folder = folder
    return profile


def _read(path: Path) -> DeviceProfile:
    folder = path.parent if path.parent.name not in ("", "..") else path.parent.resolve()  # "." and ".." are no names
    profile = parse_profile(_yaml(path), folder, str(path))
    if profile.name != folder.name:
        raise ProfileError(f"{path}: name: must be the folder's, {folder.name!r}, got {profile.name!r}")
    return profile


def _aliases(path: Path) -> list[str]:
    """Aliases in a profile, whatever else is wrong with it: one broken profile must not hide the others."""
    try:
        aliases = _yaml(path).get("aliases", [])
    except ProfileError:
        return []
    return [str(alias).lower() for alias in aliases] if isinstance(aliases, list) else []


def _yaml(path: Path) -> Mapping[str, Any]:
    return read_yaml(path, "a profile", ProfileError)
