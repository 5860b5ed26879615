"""The whole path: what one device lacks does not cost the others what they have, and what is derived again says what it is of."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.config import SearchConfig, TrainRecipe
from nas.errors import InfeasibleError, StoppedError, StudyError, TrainingError
from nas.events import Event
from nas.finishing import make_finalist
from nas.metrics import Candidate, Metric
from nas.opening import begin_studies, own_storage
from nas.pipeline import rebuild, run
from nas.preparation import Device, Prepared, prepare
from nas.recording import Selection, infeasible
from nas.report.course import BEGIN, END, LOG
from nas.report.footprint import seconds_of
from nas.report.front import STOPPED
from nas.report.record import EventLog, read_front
from nas.report.study import study_id, summarise
from nas.search import storage
from nas.search.finalists import Finalist, FinalistMaker
from nas.space import load_space
from tests.report.tracking.stores import store, the_parent
from tests.search.conftest import save_supernet
from tests.spaces import space_data

RECIPE = TrainRecipe(epochs=0, finetune_epochs=0, batch_size=64, flip=False, augment=False)
DEVICES = ("raspberrypi4", "pixel3")


@pytest.fixture
def config(tmp_path: Path) -> SearchConfig:
    path, weights = tmp_path / "tiny.yaml", tmp_path / "weights.safetensors"
    stage = {"out_chs": 16, "depth": [1, 2], "kernel_size": [3, 5], "expand_ratio": 2, "stride": 2}
    path.write_text(yaml.safe_dump(space_data(stages=[stage])))
    save_supernet(load_space(str(path)).with_data(1, 10), weights)
    values = {
        "study": "s", "devices": DEVICES, "space": str(path), "data": "digits", "trials": 4, "finalists": 1, "recipe": RECIPE,
        "weights": str(weights),
    }  # fmt: skip
    return SearchConfig.model_validate(values)


def test_a_device_that_nothing_serves_costs_the_others_nothing(
    config: SearchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_slow(prepared: Prepared, device: Device, done: list[storage.Evaluated]) -> InfeasibleError | None:
        """As if nothing met a bound on one of them."""
        name = device.target.device
        return InfeasibleError(f"none of {len(done)} for {name}", len(done), {}) if name == DEVICES[1] else None

    monkeypatch.setattr("nas.pipeline.infeasible", too_slow)
    runs, told = tmp_path / "runs", []
    for again in (False, True):
        result = rebuild(config, runs, told.append) if again else run(config, runs, told.append, lambda: False)
        assert [front.device for front in result.fronts] == [DEVICES[0]]
        assert len(result.fronts[0].finalists) == 1
        assert str(result.infeasible).startswith("none of 5 for pixel3" if not again else "none of")
        assert [path.stem for path in (runs / "s" / "fronts").iterdir()] == [DEVICES[0]]
        assert any(event.kind == "warning" and "pixel3: it has no front" in event.text for event in told)
    monkeypatch.setattr("nas.pipeline.infeasible", lambda prepared, device, done: InfeasibleError(device.target.device, 0, {}))
    with pytest.raises(InfeasibleError, match=f"^{DEVICES[0]}$"):
        rebuild(config, runs, told.append)


def test_what_is_derived_again_ended_as_the_search_did(config: SearchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    one = config.model_copy(update={"devices": DEVICES[:1]})
    found = run(one, runs, lambda event: None, lambda: False)
    assert found.infeasible is None
    log = EventLog(runs / "s" / LOG)

    def ended() -> list[str]:
        return [event["status"] for event in log.read() if event["kind"] == END]

    log.append(END, {"status": "KILLED", "cost": {}})
    assert [front.to_dict()["candidates"] for front in rebuild(one, runs, lambda event: None).fronts] == [
        front.to_dict()["candidates"] for front in found.fronts
    ]
    assert ended() == ["FINISHED", "KILLED", "KILLED"]
    log.append(BEGIN)  # a resume that was killed
    assert rebuild(one, runs, lambda event: None).fronts[0].search[STOPPED]
    assert (ended()[3:], summarise(runs / "s")["state"]) == (["FAILED"], "unfinished")
    log.append(BEGIN)
    log.append(END, {"status": "FINISHED", "cost": {}})

    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nas.pipeline.front_record", interrupted)
        with pytest.raises(KeyboardInterrupt):
            rebuild(one, runs, lambda event: None)
    assert ended()[4:] == ["FINISHED", "FINISHED"]
    assert log.read()[-1]["kind"] == END
    assert STOPPED not in rebuild(one, runs, lambda event: None).fronts[0].search
    (runs / "s" / "study.db").unlink()
    with pytest.raises(StudyError, match="no candidate of study s: its log has some: put the storage back"):
        rebuild(one, runs, lambda event: None)
    (runs / "s" / LOG).unlink()
    with pytest.raises(StudyError, match="no candidate of study s: go on with nas search --resume s"):
        rebuild(one, runs, lambda event: None)
    assert summarise(runs / "s")["state"] == "done"


def test_a_storage_that_is_full_takes_no_ending_with_it(config: SearchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        raise StudyError("the storage cannot be used (disk full)")

    monkeypatch.setattr("nas.search.storage.keep_spent", full)
    monkeypatch.setattr("nas.pipeline.select_all", full)
    with pytest.raises(StudyError, match="disk full"):
        run(config, tmp_path / "runs", lambda event: None, lambda: False)
    last = EventLog(tmp_path / "runs" / "s" / LOG).read()[-1]
    assert (last["kind"], last["status"]) == (END, "FAILED")


def test_a_search_that_began_while_another_of_its_name_was_prepared_is_left_alone(
    config: SearchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runs" / "s" / "config.json"

    def slowly(*given: object, **options: object) -> Prepared:
        path.parent.mkdir(parents=True)
        path.write_text("of the other")
        return prepare(config, tmp_path / "runs", lambda event: None, lambda: False)

    monkeypatch.setattr("nas.pipeline.prepare", slowly)
    with pytest.raises(StudyError, match=r"study 's' exists already in .*: go on with --resume s"):
        run(config, tmp_path / "runs", lambda event: None, lambda: False)
    assert path.read_text() == "of the other"


def test_what_failed_and_what_was_not_come_to_is_told_again(config: SearchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the search had been stopped before it came to the second device."""
    runs, told = tmp_path / "runs", []

    def failing(*given: object) -> None:
        raise TrainingError("the loss is not finite")

    with monkeypatch.context() as patch:
        patch.setattr("nas.finishing._make", failing)
        (found,) = run(config.model_copy(update={"devices": DEVICES[:1]}), runs, lambda event: None, lambda: False).fronts
    (again,) = rebuild(config, runs, told.append).fronts
    assert [each.note for each in found.candidates if each.note] == ["failed as a finalist: the loss is not finite"]
    assert [each.note for each in again.candidates] == [each.note for each in found.candidates]
    assert "nothing was evaluated for pixel3 yet: it has no front" in [event.text for event in told if event.kind == "warning"]


def test_a_candidate_that_is_no_finalist_is_made_and_measured_as_one(
    config: SearchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, told = tmp_path / "runs", list[Event]()
    monkeypatch.setattr("nas.search.artifacts.MOST_DROP", -1.0)
    (front,) = run(config.model_copy(update={"devices": DEVICES[:1]}), runs, told.append, lambda: False).fronts
    (finalist,) = front.finalists
    doubt = re.compile(f"{finalist.id}: (the int8 file loses|there is no int8 file)")
    assert [event for event in told if event.kind == "warning" and doubt.match(event.text)]
    assert [event for event in EventLog(runs / "s" / LOG).read() if event["kind"] == "warning" and doubt.match(event["text"])]
    found = Metric(0.001, "s", "measured")
    monkeypatch.setattr("nas.finishing.HOST", DEVICES[0])
    monkeypatch.setattr("nas.finishing.file_latency", lambda *given: found)
    other = next(each for each in front.candidates if not each.finalist)
    made = make_finalist(runs / "s", other.candidate, told.append, lambda: False)
    assert made.candidate.metrics["latency_measured_s"] == found
    elsewhere = replace(other.candidate, target=replace(other.candidate.target, device="myboard"))
    with pytest.raises(StudyError, match="is for myboard, and the study's devices are raspberrypi4 now"):
        make_finalist(runs / "s", elsewhere, told.append, lambda: False)


def test_what_nothing_meets_says_how_near_it_came(config: SearchConfig, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    one = config.model_copy(update={"devices": DEVICES[:1]})
    run(one, runs, lambda event: None, lambda: False)
    values = {**one.model_dump(), "constraints": ({"metric": "accuracy_search", "kind": "min", "bound": 0.99},)}
    prepared = prepare(SearchConfig.model_validate(values), runs, lambda event: None, lambda: False)
    (study,) = begin_studies(prepared, own_storage(runs / "s"), {})
    done = storage.evaluated(study)
    error = infeasible(prepared, prepared.devices[0], done)
    best = max(each.candidate.metrics["accuracy_search"].value for each in done)
    assert str(error) == f"none of 4 candidates for raspberrypi4 meets accuracy_search >= 0.99: the best accuracy_search is {best:.4f}"
    plain = prepare(one, runs, lambda event: None, lambda: False)
    assert infeasible(plain, plain.devices[0], done) is None
    for each in (plain, prepared):
        assert str(infeasible(each, each.devices[0], [])) == "nothing was evaluated for raspberrypi4 yet (nas search --resume s goes on)"


def test_what_is_derived_again_measures_nothing(config: SearchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs, host = tmp_path / "runs", config.model_copy(update={"devices": ("host",)})
    (runs / "s").mkdir(parents=True)
    (runs / "s" / "study.db").touch()
    with pytest.raises(StudyError, match="is not known with what is installed now: nas search --resume s measures it"):
        rebuild(host, runs, lambda event: None)


def test_a_resume_has_what_the_runs_before_it_left_of_the_time(
    config: SearchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.search.engine.LEAST", 4)
    runs, one = tmp_path / "runs", config.model_copy(update={"devices": DEVICES[:1]})
    run(one, runs, lambda event: None, lambda: False)
    (study,) = storage.studies_of(own_storage(runs / "s"), "s")
    storage.keep_spent(study, 1e6, storage.cost(study))
    for budget_s, count in ((1e6, 4), (2e6, 6)):
        longer, told = one.model_copy(update={"trials": 6, "time_budget_s": budget_s}), list[str]()
        run(longer, runs, lambda event, told=told: told.append(event.text), lambda: False, resume=True)
        assert len(storage.evaluated(study)) == count
        assert ("the time for the search is over: stopped at 4 of 6 candidates" in told) == (count == 4)
        (told_at,) = (row for row, text in enumerate(told) if text.startswith("earlier runs took 277 h "))
        assert told_at < next(row for row, text in enumerate(told) if text.startswith("This will take"))


def test_what_the_files_of_finalists_take_is_no_time_for_their_training(
    config: SearchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a million seconds for two: the first file is thought to take a tenth, the second what the first one took."""
    monkeypatch.setattr("nas.schedule.EXPORT_S", 1e5)
    shares: list[float] = []

    def made(maker: FinalistMaker, candidate: Candidate, budget_s: float, *given: Any) -> Finalist:
        shares.append(budget_s)
        return maker.make(candidate, budget_s, *given)

    def first_two(prepared: Prepared, done: list[list[storage.Evaluated]]) -> list[Selection]:
        """Random weights may leave one network on the front."""
        chosen = tuple(each.candidate for each in done[0][:2])
        return [Selection(chosen, chosen)]

    monkeypatch.setattr("nas.finishing._make", made)
    monkeypatch.setattr("nas.pipeline.select_all", first_two)
    one = config.model_copy(update={"devices": DEVICES[:1], "finalists": 2, "time_budget_s": 1e6})
    run(one, tmp_path / "runs", lambda event: None, lambda: False)
    assert [round(share_s / 1e5) for share_s in shares] == [4, 10]


def one_figure(folder: Path) -> float:
    """Seconds of a study: the same in the files of its fronts, in its log, in its storage and in MLflow."""
    (study,) = (each for each in storage.studies_of(own_storage(folder), "s") if storage.spent(each))
    seconds = storage.spent(study)
    ending = [event for event in EventLog(folder / LOG).read() if event["kind"] == END][-1]
    assert seconds_of(ending["cost"]) == pytest.approx(seconds)
    for device in DEVICES:
        kept = read_front(folder, device).search
        assert kept["seconds"] == pytest.approx(seconds_of(kept)) == pytest.approx(seconds)
    assert the_parent(store(folder.parent), "s").data.metrics[f"{DEVICES[0]}/search_seconds"] == pytest.approx(seconds)
    return seconds


def test_a_search_that_is_stopped_while_finalists_are_made_leaves_what_there_is(config: SearchConfig, tmp_path: Path) -> None:
    """All trials are done, the first device's finalist too: fronts and report are there, and a resume makes the rest."""
    runs, folder, stopping = tmp_path / "runs", tmp_path / "runs" / "s", threading.Event()

    def listen(event: Event) -> None:
        if event.kind == "finalist":
            stopping.set()

    with pytest.raises(StoppedError, match="stopped before a finalist"):
        run(config, runs, listen, stopping.is_set)
    fronts = {device: read_front(folder, device) for device in DEVICES}
    assert [len(front.finalists) for front in fronts.values()] == [1, 0]
    assert all(front.front and front.search[STOPPED] == "while finalists were made" for front in fronts.values())
    (made,) = fronts[DEVICES[0]].finalists
    assert (folder / made.artifacts["onnx"]).is_file()
    assert (folder / "report.html").is_file()
    assert (EventLog(folder / LOG).read()[-1]["status"], summarise(folder)["state"]) == ("KILLED", "unfinished")
    begun, told = study_id(folder), list[Event]()
    before = one_figure(folder)
    result = run(config, runs, told.append, lambda: False, resume=True)
    in_all = one_figure(folder)
    assert result.seconds == told[-1].fields["seconds"] == pytest.approx(in_all)
    assert told[-1].text == f"s: done in {result.seconds - before:.0f} s, {result.seconds:.0f} s with earlier runs"
    assert [len(front.finalists) for front in result.fronts] == [1, 1]
    assert result.fronts[0].finalists[0].artifacts == made.artifacts
    assert study_id(folder) == begun != ""
    owners = {study.user_attrs.get("search") for study in storage.studies_of(own_storage(folder), "s")}
    assert owners == {begun, None}  # the study that keeps the clock says whose it is
