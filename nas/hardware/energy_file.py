"""Energy predictors as JSON: the form of `nas.hardware.predictor_file` with joules, their scope and their meter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.errors import ProfileError
from nas.files import write_atomic
from nas.hardware.energy import EnergyPredictor
from nas.hardware.predictor_file import predictor_from_dict, predictor_to_dict

__all__ = ["SCHEMA", "energy_from_dict", "energy_to_dict", "load_energy", "save_energy"]

SCHEMA = 1
_KIND = "energy_predictor"


def energy_to_dict(predictor: EnergyPredictor) -> dict[str, Any]:
    """JSON-ready form; `coefficients` maps each feature to joules per unit and origin."""
    model: dict[str, Any] = predictor_to_dict(predictor.model)
    coefficients = {name: {"joules": each["seconds"], "origin": each["origin"]} for name, each in model["coefficients"].items()}
    about = {"schema": SCHEMA, "kind": _KIND, "unit": "J", "scope": predictor.scope, "meter": predictor.meter, "metric_source": "predicted"}
    return {**about, "model_schema": model["schema"], **_without(model, "schema", "kind", "coefficients"), "coefficients": coefficients}


def energy_from_dict(data: Mapping[str, Any], where: str) -> EnergyPredictor:
    """Reads `energy_to_dict`'s form.

    Raises:
        ProfileError: naming `where`, the key and the value; also for a schema newer than this version's.
    """
    schema, kind = data.get("schema"), data.get("kind")
    if isinstance(schema, int) and schema > SCHEMA:
        raise ProfileError(f"{where}: schema {schema} is newer than this version reads ({SCHEMA}): upgrade hwnas")
    if schema != SCHEMA or kind != _KIND:
        raise ProfileError(f"{where}: kind must be {_KIND} of schema {SCHEMA}, got {kind!r} of {schema!r}")
    for key in ("scope", "meter"):
        if not (isinstance(data.get(key), str) and data[key]):
            raise ProfileError(f"{where}: {key}: a joule says what it covers and which meter it is from, got {data.get(key)!r}")
    try:
        known = {name: {"seconds": each["joules"], "origin": each["origin"]} for name, each in data["coefficients"].items()}
    except (AttributeError, KeyError, TypeError) as exc:
        raise ProfileError(f"{where}: coefficients: each has joules and origin: {exc!r}") from exc
    own = ("schema", "kind", "unit", "scope", "meter", "metric_source", "model_schema", "coefficients")
    model = {"schema": data.get("model_schema"), "kind": "latency_predictor", **_without(data, *own), "coefficients": known}
    return EnergyPredictor(predictor_from_dict(model, where), data["scope"], data["meter"])


def load_energy(path: Path) -> EnergyPredictor:
    """An energy predictor from its file.

    Raises:
        ProfileError: it cannot be read, or does not hold together.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ProfileError(f"{path}: cannot be read as JSON: {exc}") from exc
    if not isinstance(data, dict):
        raise ProfileError(f"{path}: an energy predictor is a mapping, got {type(data).__name__}")
    return energy_from_dict(data, str(path))


def save_energy(predictor: EnergyPredictor, path: Path) -> None:
    """Writes the file, whole or not at all."""
    write_atomic(path, json.dumps(energy_to_dict(predictor), indent=1) + "\n")


def _without(data: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in keys}
