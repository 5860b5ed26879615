"""No joule anywhere without what it covers and where it is from: every record of a made study, of a measurement and of an impact."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nas.hardware.calibrate import calibrate
from nas.hardware.energy_file import save_energy
from nas.hardware.roofline import roofline
from nas.hardware.rows import rows_path
from nas.measuring import refit_energy
from nas.resources import data_root
from tests.end_to_end.conftest import nas
from tests.hardware.devices import Board, FakeTransport
from tests.hardware.test_calibrate import CORE, PROTOCOL, TARGET, export
from tests.hardware.test_energy import fitted, profile_of
from tests.hardware.test_fitting import networks
from tests.hardware.test_measure_energy import FakeMeter
from tests.hardware.test_metering import METERING, a_meter_works, board
from tests.report.tracking.stores import found_runs, store, the_parent

__all__ = ["a_meter_works", "board"]  # fixtures

ENERGY = re.compile(r"(^|_)(energy|joules|(?<!per_)kwh)(_|$)|_j$")
UNITS = ("J", "kWh")


def bare(data: Any, where: str = "", has_scope: bool = False, has_source: bool = False) -> Iterator[str]:
    """Places of numbers of energy that neither they nor what they stand in give a scope and a source."""
    if isinstance(data, Mapping):
        texts = {key for key, value in data.items() if isinstance(value, str) and value}
        has_scope = has_scope or any(key.endswith("scope") for key in texts)
        has_source = has_source or any(key.endswith(("source", "meter")) for key in texts)
        if data.get("unit") in UNITS and not (has_scope and has_source):
            yield where
        for key, value in data.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and ENERGY.search(str(key)) and not (has_scope and has_source):
                yield f"{where}.{key}"
            yield from bare(value, f"{where}.{key}", has_scope, has_source)
    elif isinstance(data, list):
        for number, value in enumerate(data):
            yield from bare(value, f"{where}[{number}]", has_scope, has_source)


def joules(data: Any) -> int:
    """How many numbers of energy there are."""
    if isinstance(data, Mapping):
        own = int(data.get("unit") in UNITS) + sum(bool(ENERGY.search(str(key))) and isinstance(data[key], float) for key in data)
        return own + sum(map(joules, data.values()))
    return sum(map(joules, data)) if isinstance(data, list) else 0


def typed(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a table: numbers as numbers, empty cells left out."""
    found = {}
    for key, value in row.items():
        if value in ("", None) or value != value:
            continue
        try:
            found[key] = float(value)
        except ValueError:
            found[key] = value
    return found


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one device with two targets, in a folder of its own."""
    folder = tmp_path_factory.mktemp("energy")
    quick = ("--epochs", "1", "--trials", "8", "--finalists", "1", "--recipe", "finetune_epochs=1", "--grid", "FR", "--study", "two")
    done = nas(folder, "search", "--device", "raspberrypi4", "--threads", "1", "--threads", "4", *quick)
    assert done.code == 0, done.err
    assert "third axis" in done.out + done.err
    return folder


def test_the_walk_finds_a_bare_joule() -> None:
    assert list(bare({"a": {"value": 1.0, "unit": "J", "source": "modelled"}})) == [".a"]
    assert list(bare({"rows": [{"energy_j": 1.0}]})) == [".rows[0].energy_j"]
    assert list(bare({"cost_kwh": 1.0, "cost_scope": "this machine"})) == [".cost_kwh"]
    assert not list(bare({"scope": "board", "meter": "rapl", "coefficients": {"constant": {"joules": 1.0}}}))


def test_files_of_a_study(study: Path) -> None:
    folder = study / "runs" / "two"
    looked = 0
    for path in (*folder.glob("*.json"), *folder.glob("fronts/*.json"), *folder.glob("ceilings/*.json"), *folder.glob("models/*/*.json")):
        data = json.loads(path.read_text())
        looked += joules(data)
        assert not list(bare(data)), path
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert not list(bare(events))
    with (folder / "front.csv").open() as handle:
        rows = [typed(row) for row in csv.DictReader(handle)]
    rows += [typed(row) for row in pd.read_parquet(folder / "candidates.parquet").to_dict("records")]
    assert not list(bare(rows))
    assert looked > 20
    assert joules(rows) > 20


def test_one_architecture_stands_on_the_front_for_speed_and_for_energy(study: Path) -> None:
    record = json.loads((study / "runs" / "two" / "front.json").read_text())
    assert record["objectives"] == ["accuracy_search", "latency_s", "energy_j"]
    front = [each for each in record["candidates"] if each["on_front"]]
    threads: dict[str, dict[int, Mapping[str, Any]]] = {}
    for each in front:
        threads.setdefault(each["arch_id"], {})[each["target"]["threads"]] = each["metrics"]
    both = [found for found in threads.values() if set(found) == {1, 4}]
    assert both
    for found in both:
        assert found[4]["latency_s"]["value"] < found[1]["latency_s"]["value"]
        assert found[1]["energy_j"]["value"] < found[4]["energy_j"]["value"]
        assert found[1]["accuracy_search"] == found[4]["accuracy_search"]
    assert sum(each["finalist"] for each in record["candidates"]) == 1
    assert record["search"]["cost_kwh"] > 0
    parts = ("training", "evaluation", "measuring", "other")
    assert sum(record["search"][f"cost_{part}_kwh"] for part in parts) == pytest.approx(record["search"]["cost_kwh"])
    assert "France" in record["search"]["cost_grid"]


def test_front_and_finalists_lie_beneath_the_roof_of_their_target(study: Path) -> None:
    folder = study / "runs" / "two"
    found = json.loads((folder / "ceilings" / "raspberrypi4.json").read_text())["candidates"]
    record = json.loads((folder / "front.json").read_text())
    assert {each["id"] for each in found} == {each["id"] for each in record["candidates"] if each["on_front"] or each["finalist"]}
    for each in found:
        assert each["peaks"]["macs_per_s"]["value"] == pytest.approx(6e9 * each["target"]["threads"])
        assert each["model_share"] * each["runtime_share"] == pytest.approx(each["compute_share"])
    page = (folder / "report.html").read_text()
    for words in ("Peaks, 1 thread", "Peaks, 4 threads", "multiply-adds rank energy", "recommended: the knee", "kg CO2e a year"):
        assert words in page


def test_mlflow_has_what_the_search_cost_and_where_joules_are_from(study: Path) -> None:
    record = json.loads((study / "runs" / "two" / "front.json").read_text())["search"]
    client = store(study / "runs")
    parent = the_parent(client, "two")
    for name, value in record.items():
        if name.startswith("cost_"):
            total = name.replace("cost_", "cost_total_") if name in ("cost_kwh", "cost_co2e_kg") else name
            assert (parent.data.tags if isinstance(value, str) else parent.data.metrics)[total] == value
    assert parent.data.metrics["cost_total_s"] > parent.data.metrics["cost_training_s"] > 0
    runs = found_runs(client, "two", "candidate")
    assert runs
    for run in runs:
        assert run.data.metrics["energy_mj"] > 0
        assert (run.data.tags["source_energy_mj"], run.data.tags["scope_energy_mj"]) == ("modelled", "board")


def test_an_impact(study: Path) -> None:
    done = nas(study, "impact", "--grid", "DE", "--battery", "40", "--json")
    assert done.code == 0, done.err
    assert joules(done.json) >= 4
    assert not list(bare(done.json))


def test_rows_of_a_measurement_and_the_predictor_of_them(board: Board, tmp_path: Path, a_meter_works: None) -> None:
    transport = FakeTransport(tmp_path / "there", board)
    transport.meter = lambda spec: FakeMeter(board.clock, *[2.0, 5.0, 2.0, 5.0, 2.0] * 5)
    calibrate(tmp_path, TARGET, networks(5), export, PROTOCOL, roofline(CORE), transport=transport, metering=METERING)
    with rows_path(tmp_path, TARGET).open() as handle:
        rows = [typed({key: value for key, value in row.items() if key.startswith("energy")}) for row in csv.DictReader(handle)]
    assert joules(rows) >= 10
    assert not list(bare(rows))
    profile = profile_of(tmp_path, name="board")
    assert refit_energy(profile, TARGET, roofline(CORE)) is not None
    data = json.loads(profile.energy_path(TARGET).read_text())
    assert joules(data) > 10
    assert not list(bare(data))


def test_files_of_energy_predictors_and_what_is_shipped(tmp_path: Path) -> None:
    save_energy(fitted(8), tmp_path / "energy.json")
    assert not list(bare(json.loads((tmp_path / "energy.json").read_text())))
    for path in data_root("hw_profiles").glob("*/*.json"):
        assert not list(bare(json.loads(path.read_text()))), path
