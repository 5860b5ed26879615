"""The values of front.json: what a study found for one device, as people look at it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, TypeVar, cast

from nas.architecture import Architecture
from nas.errors import InputError
from nas.metrics import UNITS, Candidate, Metric
from nas.target import Target

__all__ = ["CANDIDATES", "DOMINATED", "OUTSIDE", "SCHEMA", "STOPPED", "CandidateRecord", "FrontRecord"]

SCHEMA = 1
"""Version of front.json; readers refuse newer ones."""

STOPPED = "stopped"
"""Among what a front says of its search: when that was stopped, though the front was found."""
CANDIDATES = "candidates"
"""Among what a front says of its search: how many candidates there are in all, a network on each of its targets."""
DOMINATED, OUTSIDE = "dominated", "outside the constraints"
"""Why a candidate is not on the front, in words."""

T = TypeVar("T")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def _get(data: Mapping[str, Any], key: str, kind: type[T], where: str, default: T | None = None) -> T:
    """`data[key]`, which must be of `kind` (whole numbers are floats too).

    Raises:
        InputError: naming the key.
    """
    value = data.get(key, default)
    if value is None:
        raise InputError(f"{where}: {key!r} is missing")
    fits = isinstance(value, (int, float) if kind is float else kind) and (kind is bool or not isinstance(value, bool))
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        raise InputError(f"{where}: {key!r} must be {kind.__name__}, got {value!r}")
    return cast("T", value)


def _items(data: Mapping[str, Any], key: str, kind: type[T]) -> tuple[T, ...]:
    """The list `data[key]` of front.json, whose items must be of `kind`."""
    items = _get(data, key, list, "front")
    return tuple(_get({key: item}, key, kind, "front") for item in items)


def _refuse_unknown(data: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise InputError(f"{where}: unknown key {unknown[0]!r}, known are {', '.join(sorted(known))}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class CandidateRecord:
    """A candidate as people look at it.

    Attributes:
        on_front: not dominated in the study's search objectives.
        finalist: trained, tested and exported.
        tied: its accuracy is statistically not distinguishable from a faster neighbour's on the front.
        gene_numbers: numeric genes, for parallel coordinates.
        title: the architecture in one line.
        artifacts: kind to path relative to the study's folder, e.g. {"onnx": "models/<id>/model.onnx"}.
        note: one sentence, e.g. why a finalist failed.
        feasible: within the constraints of the search; of one that is not nobody asked whether another one dominates it.
    """

    candidate: Candidate
    on_front: bool
    finalist: bool = False
    tied: bool = False
    gene_numbers: Mapping[str, float] = field(default_factory=dict)
    title: str = ""
    artifacts: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    feasible: bool = True

    def __post_init__(self) -> None:
        for name, number in self.gene_numbers.items():
            if not math.isfinite(number):
                raise InputError(f"gene_numbers[{name!r}] of candidate {self.id} must be a finite number, got {number}")
        for kind, path in self.artifacts.items():
            if not path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                raise InputError(f"artifacts[{kind!r}] of candidate {self.id} must be a path inside the study's folder, got {path!r}")
        object.__setattr__(self, "gene_numbers", MappingProxyType(dict(self.gene_numbers)))
        object.__setattr__(self, "artifacts", MappingProxyType(dict(self.artifacts)))

    @property
    def id(self) -> str:
        return self.candidate.id

    @property
    def pruned(self) -> bool:
        """Whether pruning made it of a finalist: it was no candidate of the search, and has no search accuracy."""
        return bool(self.candidate.arch.widths)

    @property
    def why_not(self) -> str:
        """Why it is not on the front, in words; empty where it is, or was no candidate of the search."""
        return "" if self.on_front or self.pruned else DOMINATED if self.feasible else OUTSIDE

    def value(self, metric: str) -> float | None:
        """The value of a metric, SI units; None where it is not known."""
        found = self.candidate.metrics.get(metric)
        return None if found is None else found.value

    def to_dict(self) -> dict[str, object]:
        candidate = self.candidate
        return {
            "id": self.id,
            "arch_id": candidate.arch.arch_id,
            "trial": candidate.trial,
            "on_front": self.on_front,
            "finalist": self.finalist,
            "tied": self.tied,
            "feasible": self.feasible,
            "title": self.title,
            "note": self.note,
            "architecture": candidate.arch.to_dict(),
            "gene_numbers": dict(self.gene_numbers),
            "target": candidate.target.to_dict(),
            "metrics": {name: metric.to_dict() for name, metric in candidate.metrics.items()},
            "artifacts": dict(self.artifacts),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, object], where: str = "candidate") -> CandidateRecord:
        """Reads `to_dict`'s form.

        Raises:
            InputError: naming the key, under `where`, that does not hold.
        """
        optional = ("trial", "tied", "feasible", "title", "note", "gene_numbers")
        _refuse_unknown(data, (*optional, "id", "arch_id", "on_front", "finalist", "architecture", "target", "metrics", "artifacts"), where)
        target = _get(data, "target", dict, where)
        words = [_get(target, key, str, f"{where}.target") for key in ("device", "runtime", "runtime_version", "precision")]
        threads = _get(target, "threads", int, f"{where}.target")
        metrics = _get(data, "metrics", dict, where)
        genes = _get(data, "gene_numbers", dict, where, {})
        artifacts = _get(data, "artifacts", dict, where)
        try:
            candidate = Candidate(
                arch=Architecture.from_dict(_get(data, "architecture", dict, "candidate")),
                target=Target(words[0], words[1], words[2], words[3], threads),
                metrics={name: Metric.from_dict(_get(metrics, name, dict, "metrics")) for name in metrics},
                trial=None if data.get("trial") is None else _get(data, "trial", int, where),
            )
        except InputError as exc:
            raise InputError(f"{where}: {exc}") from exc
        for key, value in (("id", candidate.id), ("arch_id", candidate.arch.arch_id)):
            if _get(data, key, str, where) != value:
                raise InputError(f"{where}: {key} is {data[key]!r} but its architecture and target make it {value!r}")
        return cls(
            candidate,
            on_front=_get(data, "on_front", bool, where),
            finalist=_get(data, "finalist", bool, where),
            tied=_get(data, "tied", bool, where, False),
            feasible=_get(data, "feasible", bool, where, True),
            gene_numbers={name: _get(genes, name, float, f"{where}.gene_numbers") for name in genes},
            title=_get(data, "title", str, where, ""),
            artifacts={name: _get(artifacts, name, str, f"{where}.artifacts") for name in artifacts},
            note=_get(data, "note", str, where, ""),
        )


@dataclass(frozen=True, slots=True)
class FrontRecord:
    """What a study found for one device: front.json.

    Attributes:
        data: name of the data set; data_fingerprint says which files.
        objectives: metric keys, e.g. ("accuracy_search", "latency_s").
        hypervolume: between the on_front candidates and `reference_point`; both are in the units of the objectives.
        candidates: the front, the finalists and any others that should be seen; candidates.parquet has all.
        search: what else is worth telling, e.g. trials, seconds; `STOPPED` where the search is to go on.
        created: ISO time.
    """

    study: str
    device: str
    space: str
    data: str
    data_fingerprint: str
    objectives: tuple[str, ...]
    hypervolume: float
    reference_point: tuple[float, ...]
    candidates: tuple[CandidateRecord, ...]
    search: Mapping[str, float | str] = field(default_factory=dict)
    created: str = field(default_factory=_now)

    def __post_init__(self) -> None:
        for key in ("study", "device"):
            if not _NAME.fullmatch(getattr(self, key)):
                raise InputError(f"{key} must be letters, digits, '.', '_' and '-', got {getattr(self, key)!r}")
        unknown = [name for name in self.objectives if name not in UNITS]
        if unknown or not self.objectives:
            raise InputError(f"objectives must be some of {', '.join(UNITS)}, got {', '.join(unknown) or 'none'}")
        if len(self.reference_point) != len(self.objectives) or not all(map(math.isfinite, self.reference_point)):
            raise InputError(
                f"reference_point must have a finite number for each of {len(self.objectives)} objectives, got {self.reference_point}"
            )
        if not (math.isfinite(self.hypervolume) and self.hypervolume >= 0):
            raise InputError(f"hypervolume must be a finite number >= 0, got {self.hypervolume}")
        ids = [record.id for record in self.candidates]
        if len(set(ids)) != len(ids):
            raise InputError(f"candidates: {next(name for name in ids if ids.count(name) > 1)} is there twice")
        for record in self.candidates:
            if record.candidate.target.device != self.device:
                raise InputError(f"candidate {record.id} is for device {record.candidate.target.device!r}, the front for {self.device!r}")
        for name in self.objectives:
            sources = {found.source if (found := record.candidate.metrics.get(name)) else "none" for record in self.front}
            if "none" in sources or (name.startswith("accuracy") and len(sources) > 1):
                raise InputError(
                    f"all members of a front need {name}, from one source where it is an accuracy; got {', '.join(sorted(sources))}"
                )
        for key, value in self.search.items():
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not (number or isinstance(value, str)):
                raise InputError(f"search[{key!r}] must be a finite number or a word, got {value!r}")
        object.__setattr__(self, "search", MappingProxyType(dict(self.search)))

    @property
    def front(self) -> tuple[CandidateRecord, ...]:
        """Members of the front, in ascending order of the last objective."""
        members = (record for record in self.candidates if record.on_front)
        return tuple(sorted(members, key=lambda record: (record.value(self.objectives[-1]) or 0.0, record.id)))

    @property
    def finalists(self) -> tuple[CandidateRecord, ...]:
        return tuple(record for record in self.candidates if record.finalist)

    @property
    def shown(self) -> tuple[CandidateRecord, ...]:
        """Members of the front, then finalists that are none."""
        return (*self.front, *(record for record in self.finalists if not record.on_front))

    @property
    def evaluated(self) -> int:
        """Networks that were evaluated, on however many targets."""
        return int(float(self.search.get("trials", len(self.candidates))))

    @property
    def total(self) -> int:
        """Candidates that there are in all, a network on each of its targets; `candidates` may hold fewer."""
        return int(float(self.search.get(CANDIDATES, max(self.evaluated, len(self.candidates)))))

    @property
    def held(self) -> str:
        """How many of all candidates are here, e.g. "1,008 of 3,000 candidates"; empty where it is all of them."""
        here = len(self.candidates)
        return "" if here >= self.total else f"{here:,} of {self.total:,} candidates"

    @property
    def found(self) -> str:
        """How many networks are on the front, e.g. "3 of 150 evaluated networks are on the front"."""
        members, networks = len(self.front), len({record.candidate.arch for record in self.front})
        words = f"{networks or 'none'} of {self.evaluated:,} evaluated networks {'is' if networks == 1 else 'are'} on the front"
        return words if members == networks else f"{words}, {members} with their targets"

    def to_dict(self) -> dict[str, object]:
        return {
            "schema": SCHEMA,
            "study": self.study,
            "device": self.device,
            "space": self.space,
            "data": self.data,
            "data_fingerprint": self.data_fingerprint,
            "created": self.created,
            "objectives": list(self.objectives),
            "hypervolume": self.hypervolume,
            "reference_point": list(self.reference_point),
            "search": dict(self.search),
            "candidates": [record.to_dict() for record in self.candidates],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> FrontRecord:
        """Reads `to_dict`'s form.

        Raises:
            InputError: for a newer schema, and naming the key that is missing, unknown or does not hold.
        """
        schema = _get(data, "schema", int, "front")
        if schema != SCHEMA:
            advice = "written by a newer hwnas: upgrade this one" if schema > SCHEMA else "there has never been such a version"
            raise InputError(f"front: schema {schema} cannot be read, this version reads {SCHEMA} ({advice})")
        words = ("study", "device", "space", "data")
        optional = ("data_fingerprint", "created", "search")
        _refuse_unknown(data, (*words, *optional, "schema", "objectives", "hypervolume", "reference_point", "candidates"), "front")
        study, device, space, name = (_get(data, key, str, "front") for key in words)
        search = _get(data, "search", dict, "front", {})
        return cls(
            study=study,
            device=device,
            space=space,
            data=name,
            data_fingerprint=_get(data, "data_fingerprint", str, "front", ""),
            objectives=_items(data, "objectives", str),
            hypervolume=_get(data, "hypervolume", float, "front"),
            reference_point=_items(data, "reference_point", float),
            candidates=tuple(
                CandidateRecord.from_dict(item, f"candidates[{index}]") for index, item in enumerate(_items(data, "candidates", dict))
            ),
            search={key: value if isinstance(value, str) else _get(search, key, float, "front.search") for key, value in search.items()},
            created=_get(data, "created", str, "front", ""),
        )
