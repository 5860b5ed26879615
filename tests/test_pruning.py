"""Finalists once more with fewer channels: they join where nothing beats them, and are made once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from nas.architecture import Architecture
from nas.config import SearchConfig, TrainRecipe
from nas.errors import InputError, StoppedError
from nas.events import Event
from nas.finishing import make_finalist
from nas.metrics import OBJECTIVES, Candidate, Constraint, Metric
from nas.opening import begin_studies, own_storage
from nas.pipeline import Result, rebuild, run
from nas.preparation import prepare
from nas.pruning import why_left_out
from nas.remaining import Left
from nas.report.front import CandidateRecord
from nas.report.record import read_front
from nas.report.study import summarise
from nas.space import load_space
from nas.target import Target
from tests.search.conftest import save_supernet
from tests.spaces import space_data

RECIPE = TrainRecipe(epochs=0, finetune_epochs=2, finetune_lr=0.2, finetune_distill_weight=0.5, batch_size=64, flip=False, augment=False)
Searched = tuple[Result, list[str], SearchConfig, Path]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of studies: images are read once, and MLflow's tables made once."""
    return tmp_path_factory.mktemp("pruned")


def config(folder: Path, **changes: object) -> SearchConfig:
    """A space of one network, whose weights are random, on digits."""
    path, weights = folder / "tiny.yaml", folder / "weights.safetensors"
    stage = {"out_chs": 16, "depth": 2, "kernel_size": 3, "expand_ratio": 4, "stride": 2}
    path.write_text(yaml.safe_dump(space_data(stages=[stage])))
    save_supernet(load_space(str(path)).with_data(1, 10), weights)
    values = {
        "study": "pruned", "devices": ("raspberrypi4",), "space": str(path), "data": "digits", "trials": 1, "finalists": 1,
        "recipe": RECIPE, "weights": str(weights), "prune": 0.8, **changes,
    }  # fmt: skip
    return SearchConfig.model_validate(values)


def search(wanted: SearchConfig, runs: Path, *, resume: bool = False) -> tuple[Result, list[str]]:
    events: list[Event] = []
    result = run(wanted, runs, events.append, lambda: False, resume=resume)
    return result, [event.text for event in events]


@pytest.fixture(scope="module")
def searched(home: Path) -> Searched:
    wanted = config(home)
    return *search(wanted, home / "runs"), wanted, home / "runs"


def left(wanted: SearchConfig, runs: Path) -> int:
    """Finalists that a resume has still to make, pruned ones included."""
    prepared = prepare(wanted, runs, lambda event: None, lambda: False)
    folder = runs / wanted.study
    return Left.of(prepared, begin_studies(prepared, own_storage(folder), {}), folder).finalists


def both(result: Result) -> tuple[CandidateRecord, CandidateRecord]:
    """The finalist, and what it was pruned to."""
    whole, pruned = sorted(result.fronts[0].finalists, key=lambda each: each.pruned)
    return whole, pruned


def test_it_is_a_finalist_of_its_own_with_figures_from_its_blocks(searched: Searched) -> None:
    result, texts, wanted, _ = searched
    whole, pruned = both(result)
    assert (whole.pruned, pruned.pruned, pruned.on_front) == (False, True, False)
    assert pruned.candidate.arch.unpruned == whole.candidate.arch
    assert pruned.id != whole.id
    for name in ("latency_s", "energy_j", "macs", "params", "size_bytes"):
        assert (pruned.value(name) or 0) < (whole.value(name) or 0)
    assert (pruned.value("latency_s") or 0) <= 0.8 * (whole.value("latency_s") or 0)
    assert "accuracy_search" not in pruned.candidate.metrics
    assert {
        "accuracy_test",
        "accuracy_test_int8",
        "accuracy_validation",
    } <= pruned.candidate.metrics.keys() & whole.candidate.metrics.keys()
    assert "fine-tuned with itself unpruned as teacher: 2 epochs" in pruned.note
    assert any(text.startswith("Pruning 1 finalist on raspberrypi4 to 80%") for text in texts)
    blocks = load_space(wanted.space).with_data(1, 10).decode(pruned.candidate.arch)
    described = json.loads((result.folder / pruned.artifacts["architecture"]).read_text())
    assert described["blocks"] == [block.to_dict() for block in blocks]


def test_its_card_says_what_it_was(searched: Searched) -> None:
    result, _, _, _ = searched
    whole, pruned = both(result)
    card = (result.folder / pruned.artifacts["card"]).read_text()
    assert f"## Pruned from {whole.id}" in card
    before, after = (each.value("macs") or 0 for each in (whole, pruned))
    assert f"| macs | {before:.6g} | {after:.6g} | {after / before - 1:+.1%} |" in card


def test_a_resume_and_a_rebuild_make_nothing_again(searched: Searched) -> None:
    result, _, wanted, runs = searched
    assert left(wanted, runs) == 0
    times = {path: path.stat().st_mtime_ns for path in (result.folder / "models").rglob("weights.safetensors")}
    again, texts = search(wanted, runs, resume=True)
    assert not any("epochs" in text and "supernet" not in text for text in texts if text.startswith("finalist "))
    rebuilt = rebuild(wanted, runs, lambda event: None)
    for other in (again, rebuilt):
        assert [each.to_dict() for each in both(other)] == [each.to_dict() for each in both(result)]
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_lost_one_is_made_again_by_a_resume_alone(searched: Searched) -> None:
    result, _, wanted, runs = searched
    _, pruned = both(result)
    shutil.rmtree(result.folder / "models" / pruned.id)
    assert left(wanted, runs) == 1
    with pytest.raises(InputError, match="was pruned, and its files are gone: nas search --resume pruned makes them again"):
        make_finalist(result.folder, pruned.candidate, lambda event: None, lambda: False)
    assert [each.id for each in rebuild(wanted, runs, lambda event: None).fronts[0].finalists] != [each.id for each in both(result)]
    again, _ = search(wanted, runs, resume=True)
    assert both(again)[1].candidate == pruned.candidate


def test_one_that_is_stopped_goes_on(home: Path) -> None:
    wanted = config(home, study="stopped")
    told: list[str] = []

    def hear(event: Event) -> None:
        told.append(event.text)

    def stop() -> bool:
        return any("pruned: epoch 2" in text for text in told)

    with pytest.raises(StoppedError):
        run(wanted, home / "runs", hear, stop)
    front = read_front(home / "runs" / "stopped")  # what is finished can be looked at, and goes on
    assert (len(front.front), [each.pruned for each in front.finalists]) == (1, [False])
    assert summarise(home / "runs" / "stopped")["state"] == "unfinished"
    assert left(wanted, home / "runs") == 1
    result, texts = search(wanted, home / "runs", resume=True)
    assert not any("pruned: epoch 1" in text for text in texts)
    assert both(result)[1].pruned
    assert summarise(result.folder)["state"] == "done"


def candidate(accuracy: float, latency_s: float, width: int) -> Candidate:
    arch = Architecture("tiny", (), (("s1.b1.mid", width),) if width else ())
    metrics = {"accuracy_validation": Metric(accuracy, "1", "trained"), "latency_s": Metric(latency_s, "s", "predicted")}
    return Candidate(arch, Target("raspberrypi4", "onnxruntime", "unknown", "fp32", 1), metrics)


def test_one_that_another_beats_is_left_out_with_figures() -> None:
    pair, whole = (OBJECTIVES["accuracy"], OBJECTIVES["latency"]), candidate(0.9, 0.010, 0)
    assert not why_left_out(candidate(0.8, 0.007, 8), [whole, candidate(0.8, 0.007, 8)], pair, ())
    faster = candidate(0.85, 0.006, 16)
    words = why_left_out(candidate(0.8, 0.007, 8), [whole, faster], pair, ())
    assert words == (
        f"0.8000 on search-validation in 7 ms (predicted), and {faster.id} has 0.8500 on search-validation in 6 ms (predicted)"
    )
    bound = Constraint("accuracy_search", 0.85, "min")
    assert "where an accuracy of 0.85 is asked for" in why_left_out(candidate(0.8, 0.007, 8), [whole], pair, (bound,))


def test_what_is_left_out_leaves_no_file_and_is_not_made_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.pruning.why_left_out", lambda *given: "it does too little")
    wanted = config(home, study="left-out")
    result, texts = search(wanted, home / "runs")
    (whole,) = result.fronts[0].finalists
    assert f"{whole.id} pruned to 80% of its latency is left out: it does too little" in texts
    assert [path.name for path in (result.folder / "models").iterdir()] == [whole.id]
    assert left(wanted, home / "runs") == 0
    _, texts = search(wanted, home / "runs", resume=True)
    assert any("is left out" in text for text in texts)
    assert not any(text.startswith(f"{whole.id} pruned: epoch") for text in texts)


def test_what_an_earlier_run_shipped_stays_though_it_is_left_out_now(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = config(home, study="shipped")
    result, _ = search(wanted, home / "runs")
    _, pruned = both(result)
    monkeypatch.setattr("nas.pruning.why_left_out", lambda *given: "it does too little")
    again, _ = search(wanted, home / "runs", resume=True)
    assert [each.pruned for each in again.fronts[0].finalists] == [False]
    assert all((result.folder / path).is_file() for path in pruned.artifacts.values())
