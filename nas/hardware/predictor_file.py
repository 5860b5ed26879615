"""Predictor files: JSON that survives library upgrades and carries no code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from nas.errors import ProfileError
from nas.files import write_atomic
from nas.hardware.correction import Correction
from nas.hardware.features import FEATURES
from nas.hardware.predictor import LatencyPredictor, Origin, SpeedUp
from nas.hardware.reading import read_as

__all__ = ["SCHEMA", "load_predictor", "predictor_from_dict", "predictor_to_dict", "save_predictor"]

SCHEMA = 3
"""2 adds `correction`: files of schema 1 are read as predictors without one. 3 has the ranges of operators, where older files have those
of blocks: they are taken for the ranges of the blocks' operators."""
# Sizes of a block, and those of operators that they were.
_OF_OPERATORS = {
    "conv.in_size": ("stem.in_size", "pointwise.in_size"),
    "conv.in_chs": ("stem.in_chs", "pointwise.in_chs"),
    "conv.out_chs": ("stem.out_chs", "pointwise.out_chs"),
    "conv.kernel_size": ("stem.kernel_size",),
    "mbconv.in_size": ("pointwise.in_size", "grouped.in_size", "depthwise.in_size"),
    "mbconv.in_chs": ("pointwise.in_chs", "grouped.in_chs"),
    "mbconv.mid_chs": tuple(f"{kind}.{chs}" for kind in ("pointwise", "grouped", "depthwise") for chs in ("in_chs", "out_chs")),
    "mbconv.out_chs": ("pointwise.out_chs", "grouped.out_chs"),
    "mbconv.kernel_size": ("depthwise.kernel_size",),
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Coefficient(_Strict):
    seconds: float = Field(gt=0, allow_inf_nan=False)
    origin: Origin


class _SpeedUp(_Strict):
    threads: int
    median: float
    low: float
    high: float
    source: str


class _Correction(_Strict):
    kind: Literal["gaussian process, linear kernel, log residuals"]
    intercept: float
    weights: dict[str, float]
    limit: float


class _File(_Strict):
    schema_: Literal[1, 2, 3] = Field(alias="schema")
    kind: Literal["latency_predictor"]
    coefficients: dict[str, _Coefficient]
    half_width: float
    threads: int
    speedup: _SpeedUp | None
    ranges: dict[str, tuple[float, float]]
    unseen: tuple[str, ...]
    measurements: int
    quality: dict[str, float]
    source: str
    licence: str
    correction: _Correction | None = None


def predictor_to_dict(predictor: LatencyPredictor) -> dict[str, object]:
    """JSON-ready form; `coefficients` maps each feature to seconds per unit and origin."""
    speedup, correction = predictor.speedup, predictor.correction
    return {
        "schema": SCHEMA,
        "kind": "latency_predictor",
        "coefficients": {
            name: {"seconds": seconds, "origin": origin}
            for name, seconds, origin in zip(FEATURES, predictor.coefficients, predictor.origins, strict=True)
        },
        "half_width": predictor.half_width,
        "threads": predictor.threads,
        "speedup": None if speedup is None else {name: getattr(speedup, name) for name in ("threads", "median", "low", "high", "source")},
        "ranges": {name: [low, high] for name, low, high in predictor.ranges},
        "unseen": list(predictor.unseen),
        "measurements": predictor.measurements,
        "quality": dict(predictor.quality),
        "source": predictor.source,
        "licence": predictor.licence,
        "correction": None
        if correction is None
        else {
            "kind": "gaussian process, linear kernel, log residuals",
            "intercept": correction.intercept,
            "weights": dict(zip(FEATURES, correction.weights, strict=True)),
            "limit": correction.limit,
        },
    }


def predictor_from_dict(data: Mapping[str, object], where: str) -> LatencyPredictor:
    """Reads `predictor_to_dict`'s form.

    Raises:
        ProfileError: naming `where`, the key and the value; also for a schema newer than this version's.
    """
    schema = data.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise ProfileError(f"{where}: schema {schema} is newer than this version reads ({SCHEMA}): upgrade hwnas")
    file = read_as(_File, data, where)
    _check_features(file.coefficients, f"{where}: coefficients")
    if file.correction is not None:
        _check_features(file.correction.weights, f"{where}: correction.weights")
    try:
        return LatencyPredictor(
            coefficients=tuple(file.coefficients[name].seconds for name in FEATURES),
            origins=tuple(file.coefficients[name].origin for name in FEATURES),
            half_width=file.half_width,
            threads=file.threads,
            speedup=None if file.speedup is None else SpeedUp(**file.speedup.model_dump()),
            ranges=_ranges(file),
            unseen=file.unseen,
            measurements=file.measurements,
            quality=tuple(file.quality.items()),
            source=file.source,
            licence=file.licence,
            correction=None if file.correction is None else _correction(file.correction),
        )
    except ProfileError as exc:
        raise ProfileError(f"{where}: {exc}") from exc


def _check_features(named: Mapping[str, object], where: str) -> None:
    for name in FEATURES:
        if name not in named:
            raise ProfileError(f"{where}: {name} is missing")
    for name in named:
        if name not in FEATURES:
            raise ProfileError(f"{where}.{name}: unknown feature: known are {', '.join(FEATURES)}")


def _ranges(file: _File) -> tuple[tuple[str, float, float], ...]:
    if file.schema_ == SCHEMA:
        return tuple((name, low, high) for name, (low, high) in file.ranges.items())
    found: dict[str, tuple[float, float]] = {}
    for block, (low, high) in file.ranges.items():
        for name in _OF_OPERATORS.get(block, ()):
            lowest, highest = found.get(name, (low, high))
            found[name] = (min(low, lowest), max(high, highest))
    return tuple((name, low, high) for name, (low, high) in sorted(found.items()))


def _correction(file: _Correction) -> Correction:
    return Correction(file.intercept, tuple(file.weights[name] for name in FEATURES), file.limit)


def load_predictor(path: Path) -> LatencyPredictor:
    """A predictor from its file.

    Raises:
        ProfileError: absent, not JSON, or not a predictor; names the file, the key and the value.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ProfileError(f"{path}: cannot be read: {exc.strerror or exc}") from exc
    except ValueError as exc:
        raise ProfileError(f"{path}: not valid JSON: {exc}") from exc
    if not isinstance(data, dict):
        raise ProfileError(f"{path}: a predictor is a mapping, got {type(data).__name__}")
    return predictor_from_dict(data, str(path))


def save_predictor(predictor: LatencyPredictor, path: Path) -> None:
    """Writes the predictor's file, whole or not at all."""
    write_atomic(path, json.dumps(predictor_to_dict(predictor), indent=1) + "\n")
