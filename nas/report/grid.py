"""Carbon intensity of electricity by country, from the data that CodeCarbon brings. Its file is read; nothing of it is imported."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from nas.errors import DataError, MissingExtraError, UnknownNameError

__all__ = ["WORLD", "Grid", "load_grid"]

WORLD = "WORLD"
"""Code of the world's average."""
_FOLDER = "codecarbon/data/private_infra"


@dataclass(frozen=True, slots=True)
class Grid:
    """Electricity of a country.

    Attributes:
        code: ISO 3166-1 alpha-3, or "WORLD".
        kg_per_kwh: kg of CO2 equivalent for a kWh, production mix.
        year: that it is of.
        source: file and version of CodeCarbon.
    """

    code: str
    name: str
    kg_per_kwh: float
    year: int
    source: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.kg_per_kwh) and self.kg_per_kwh >= 0):
            raise DataError(f"{self.source}: the carbon intensity of {self.name} cannot be {self.kg_per_kwh} kg/kWh")

    def to_dict(self) -> dict[str, object]:
        return {"code": self.code, "name": self.name, "kg_per_kwh": self.kg_per_kwh, "year": self.year, "source": self.source}


def load_grid(code: str) -> Grid:
    """The electricity of a country.

    Args:
        code: ISO 3166-1 of two or three letters, e.g. FR or FRA; WORLD for the average.

    Raises:
        UnknownNameError: no such country in the data; lists the nearest.
        MissingExtraError: CodeCarbon is not installed.
    """
    wanted = code.upper()
    version = _version()
    if wanted == WORLD:
        file = "carbon_intensity_per_source.json"
        data = _read(file)
        return Grid(WORLD, "world average", data["world_average"] * 1e-3, 2019, f"CodeCarbon {version}, {file}, of the IEA")
    file = "global_energy_mix.json"
    countries: Mapping[str, Mapping[str, Any]] = _read(file)
    names = _names(countries)
    if wanted not in names:
        raise _unknown(code, countries, names)
    found = countries[names[wanted]]
    name = str(found["country_name"])
    return Grid(names[wanted], name, float(found["carbon_intensity"]) * 1e-3, int(found["year"]), f"CodeCarbon {version}, {file}")


def _unknown(code: str, countries: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]) -> UnknownNameError:
    """Nearest codes, of two letters where two were given; names of countries where a name was."""
    wanted = code.upper()
    if len(wanted) <= 3:
        near = [each for each in names if len(each) == len(wanted) and sum(a == b for a, b in zip(each, wanted, strict=True)) > 0]
        near = sorted(near, key=lambda each: (-sum(a == b for a, b in zip(each, wanted, strict=True)), each))[:4] or sorted(names)[:4]
        told = ", ".join(f"{each} ({countries[names[each]]['country_name']})" for each in near)
        hint = f"(nearest: {told}; WORLD for the average)"
        return UnknownNameError("grid", code, (), hint)
    told_names = {str(each["country_name"]).lower(): key for key, each in countries.items()}
    if exact := told_names.get(code.lower()):
        return UnknownNameError("grid", code, (), f"(its code is {exact})")
    return UnknownNameError("grid", code, told_names, "(a code of ISO 3166, e.g. FR or FRA; WORLD for the average)")


def _names(countries: Mapping[str, object]) -> dict[str, str]:
    """Codes of three and two letters to those of three."""
    try:
        import pycountry
    except ModuleNotFoundError as exc:  # CodeCarbon needs it too
        raise MissingExtraError("pycountry", "search") from exc
    found = {key: key for key in countries}
    for country in pycountry.countries:
        if country.alpha_3 in found:
            found[country.alpha_2] = country.alpha_3
    return found


def _version() -> str:
    try:
        return metadata.version("codecarbon")
    except metadata.PackageNotFoundError as exc:
        raise MissingExtraError("codecarbon", "search") from exc


def _read(name: str) -> dict[str, Any]:
    path = Path(str(metadata.distribution("codecarbon").locate_file(f"{_FOLDER}/{name}")))
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    except (OSError, ValueError) as exc:
        raise DataError(f"{path}: CodeCarbon's data cannot be read, another version may have moved them: {exc}") from exc
