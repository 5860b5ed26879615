from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from nas.report.record import read_front, write_front
from tests.command import Nas
from tests.report.strategies import example_front, with_pruned
from tests.report.test_roofline import on_threads


def test_finalists_are_compared_with_the_baseline(nas: Nas, runs: Path) -> None:
    ended = nas("impact", "--runs", runs, "--inferences-per-day", "1e6", "--grid", "FR", "--battery", "40")
    assert ended.code == 0, ended.err
    record = read_front(runs / "digits-1")
    assert all(each.id in ended.out for each in record.finalists)
    for words in ("mobilenet_v2", "kWh a year", "kg CO2e", "embodied footprint", "France 20", "CodeCarbon 3", "modelled, board", "40 Wh"):
        assert words in ended.out, words


def test_json_holds_bands_grid_and_baseline(nas: Nas, runs: Path) -> None:
    found = nas("impact", "--runs", runs, "--grid", "DEU", "--baseline", "mobilenet_v3_large", "--json").json
    assert found["grid"]["code"] == "DEU"
    assert [(each["name"], each["target"]) for each in found["baselines"]] == [("mobilenet_v3_large", "raspberrypi4/onnxruntime/fp32/1")]
    for each in (*found["impacts"], *found["baselines"]):
        assert each["energy_kwh_year"]["low"] <= each["energy_kwh_year"]["value"] <= each["energy_kwh_year"]["high"]
        assert each["co2e_kg_year"]["value"] == pytest.approx(each["energy_kwh_year"]["value"] * found["grid"]["kg_per_kwh"])


def test_each_is_compared_on_its_own_target(nas: Nas, runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "digits-1", tmp_path / "digits-1")
    write_front(tmp_path / "digits-1", on_threads(read_front(runs / "digits-1"), 1, 4))
    found = nas("impact", "--runs", tmp_path, "--plot", tmp_path / "use.png", "--json").json
    joules = {each["target"]: each["energy_j"]["value"] for each in found["baselines"]}
    alone = {}
    for threads in (1, 4):
        predicted = nas("predict", "mobilenet_v2", "-d", "raspberrypi4", "--threads", threads, "--json").json["metrics"]
        alone[f"raspberrypi4/onnxruntime/fp32/{threads}"] = predicted["energy_j"]["value"]
    assert joules == pytest.approx(alone)
    assert len(set(joules.values())) == 2
    told = nas("impact", "--runs", tmp_path).out
    for each in found["impacts"]:
        (row,) = (line for line in told.splitlines() if line.startswith(each["name"]))
        assert f"{each['energy_j']['value'] / joules[each['target']]:.1%}" in row
        assert each["target"] in row


def on_a_pi5(runs: Path, folder: Path, *threads: int) -> Path:
    """The study of one device, as if it had searched a raspberrypi5 with these threads."""
    shutil.copytree(runs / "digits-1", folder / "digits-1")
    config = folder / "digits-1" / "config.json"
    config.write_text(config.read_text().replace("raspberrypi4", "raspberrypi5"))
    write_front(folder / "digits-1", on_threads(example_front(device="raspberrypi5"), *threads))
    return folder


def test_joules_of_the_study_and_of_the_baseline_have_one_scope(nas: Nas, runs: Path, tmp_path: Path) -> None:
    found = nas("impact", "--runs", on_a_pi5(runs, tmp_path, 1, 4), "--json").json
    assert {each["target"].rpartition("/")[2]: each["energy_j"]["scope"] for each in found["baselines"]} == {"1": "board", "4": "board"}
    assert {each["energy_j"]["scope"] for each in found["impacts"]} == {"board"}


def test_joules_of_two_scopes_are_not_compared(nas: Nas, runs: Path, tmp_path: Path) -> None:
    """With one thread alone today's joules are of the core rail, those of the study of the board."""
    folder = on_a_pi5(runs, tmp_path, 1)
    found = nas("impact", "--runs", folder, "--json").json
    assert found["baselines"] == []
    where = "not compared on raspberrypi5/onnxruntime/fp32/1"
    assert f"{where}: joules of the baseline are of core rail, net of idle, those of the study of board" in found["notes"]
    assert "of baseline" not in nas("impact", "--runs", folder).out


def test_a_picture(nas: Nas, runs: Path, tmp_path: Path) -> None:
    ended = nas("impact", "--runs", runs, "--grid", "FR", "--plot", tmp_path / "use.png")
    assert (ended.code, f"picture   {tmp_path / 'use.png'}" in ended.out) == (0, True)
    assert (tmp_path / "use.png").read_bytes().startswith(b"\x89PNG")


def test_one_candidate_may_be_picked(nas: Nas, runs: Path) -> None:
    member = read_front(runs / "digits-1").front[0]
    found = nas("impact", "--runs", runs, "--pick", member.id, "--json").json
    assert [each["name"] for each in found["impacts"]] == [member.id]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--grid", "XX"), "nearest"),
        (("--inferences-per-day", "0"), "more than zero"),
        (("--battery", "-3"), "capacity"),
        (("--baseline", "mobilenet_v9"), "did you mean mobilenet_v"),
        (("--pick", "zzzz"), "unknown candidate"),
        (("--plot", "use.pdf"), "ends in .png"),
    ],
)
def test_bad_input_is_named(nas: Nas, runs: Path, arguments: tuple[str, ...], word: str) -> None:
    ended = nas("impact", "--runs", runs, *arguments)
    assert ended.code == 2
    assert word in ended.err


def test_a_study_without_energy_says_so(nas: Nas, runs: Path, tmp_path: Path) -> None:
    front = read_front(runs / "digits-1")
    bare = []
    for each in front.candidates:
        metrics = {name: metric for name, metric in each.candidate.metrics.items() if name != "energy_j"}
        bare.append(replace(each, candidate=replace(each.candidate, metrics=metrics)))
    (tmp_path / "digits-1").mkdir()
    (tmp_path / "digits-1" / "config.json").write_text((runs / "digits-1" / "config.json").read_text())
    write_front(tmp_path / "digits-1", replace(front, candidates=tuple(bare)))
    ended = nas("impact", "--runs", tmp_path)
    assert ended.code == 2
    assert "has no power data" in ended.err


def test_what_was_pruned_is_marked(nas: Nas, runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "digits-1", tmp_path / "digits-1")
    front = with_pruned(read_front(runs / "digits-1", "raspberrypi4"))
    write_front(tmp_path / "digits-1", front)
    pruned = front.finalists[-1].id
    assert nas("impact", "--runs", tmp_path).out.count(f"{pruned} (pruned)") == 1
    assert nas("impact", "--runs", tmp_path, "--json").json["pruned"] == [pruned]
    assert nas("impact", "--runs", tmp_path, "--plot", tmp_path / "impact.png").code == 0
