"""A folder and its copy in a store: live, afterwards, after a crash, at once with another; on a real server."""

from __future__ import annotations

import json
import re
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.errors import InputError, StudyError
from nas.files import locked
from nas.report.record import EventLog, read_front, write_front
from nas.report.study import LOCK
from nas.report.tracking import BEGIN, END, LOG, Background, Connection, StudyMirror, TrackingError, sync
from nas.report.tracking import mirror as mirror_module
from nas.report.tracking.background import Patience
from tests.report.strategies import example_front
from tests.report.studies import COST, write_study
from tests.report.tracking.stores import everything, experiment, files_of, found_runs, store, the_parent

PATIENT = Patience(silence_s=60, most_s=120)


def alike(found: Any, study: str) -> Any:
    """Without the study's name, and what is made of it."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "uuid", json.dumps(found, default=sorted, sort_keys=True))
    text = re.sub(r'"files": "(\\.|[^"\\])*"', '"files": ""', text)  # compared by name: config.json holds the study's
    return json.loads(re.sub(rf"\b{study}\b", "STUDY", text))


def test_a_search_with_a_dead_server_and_sync_is_like_one_with_a_live_server(runs: Path, server: str, tmp_path: Path) -> None:
    fronts = [replace(example_front(5, 4), study="live"), example_front(3, 2, device="pixel3", study="live")]
    finished = write_study(tmp_path / "made", fronts)
    live = tmp_path / "runs" / "live"
    live.mkdir(parents=True)
    connection = Connection(live.parent, server)
    sending = Background(connection, StudyMirror(live, connection).send)
    shutil.copy(finished / "config.json", live)
    for line in (finished / LOG).read_text().splitlines(keepends=True):  # as the search goes
        if f'"{END}"' in line:
            shutil.copytree(finished, live, dirs_exist_ok=True, ignore=lambda *_: [LOG])
        with (live / LOG).open("a") as log:
            log.write(line)
        sending.wake()
    assert sending.close(PATIENT) is None

    late = tmp_path / "runs" / "late"
    shutil.copytree(live, late)
    for path in (late / "config.json", late / "front.json", *late.glob("fronts/*.json")):
        path.write_text(path.read_text().replace('"live"', '"late"'))
    dead = Connection(late.parent, "http://127.0.0.1:1")
    sending = Background(dead, StudyMirror(late, dead).send)
    sending.wake()
    assert "127.0.0.1" in str(sending.close(Patience(least_s=60)))
    done = sync(late, server)
    assert (done.sent.runs, done.sent.models) == (1 + 5 + 3, len(fronts[0].finalists) + len(fronts[1].finalists))
    client = store(runs, server)
    expected, found = everything(client, "live"), everything(client, "late")
    assert alike(found["runs"], "late") == alike(expected["runs"], "live")
    assert alike(found["models"], "late") == alike(expected["models"], "live")
    views = {key.replace("late", "live"): alike(view, "late") for key, view in found["views"].items() if "late" in key}
    assert views == {key: alike(view, "live") for key, view in expected["views"].items() if "live" in key}
    assert len(views) == 3
    assert sync(late, server).sent.words() == "nothing: all of it is there"
    assert the_parent(client, "late").data.metrics["pixel3/hypervolume"] == 0.008


def test_a_driver_that_was_killed(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its run goes on to run, by its own word; sync sees that nobody drives it. A resume takes it up."""
    folder = write_study(runs, [example_front(3, 0, study="killed")])
    log, lines = folder / LOG, (folder / LOG).read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:4]) + lines[4][:20])  # in the middle of a line
    monkeypatch.chdir(tmp_path)
    StudyMirror(folder, Connection(runs)).send()
    client = store(runs)
    assert the_parent(client, "killed").info.status == "RUNNING"
    with locked(folder / LOCK, "it runs"), pytest.raises(InputError, match="killed is being searched by another process"):
        sync(folder)
    sync(folder)
    assert the_parent(client, "killed").info.status == "FAILED"
    resumed = EventLog(log)
    resumed.append(BEGIN)
    mirror = StudyMirror(folder, Connection(runs))
    mirror.send()
    assert the_parent(client, "killed").info.status == "RUNNING"
    resumed.append("trial", {"device": "raspberrypi4", "candidates": 9, "hypervolume": 1.5, "best_accuracy": 0.99})
    resumed.append(END, {"status": "KILLED", "cost": dict(COST)})
    mirror.send()
    assert the_parent(client, "killed").data.metrics["cost_total_kwh"] == 0.0019  # a search that was stopped has cost as much
    resumed.append(BEGIN)
    resumed.append(END, {"status": "FINISHED", "cost": {**COST, "cost_kwh": 0.0029, "cost_method": "by its energy counter"}})
    mirror.send()
    parent = the_parent(client, "killed")
    assert parent.info.status == "FINISHED"
    assert (parent.data.metrics["cost_total_kwh"], parent.data.tags["cost_method"]) == (0.0029, "by its energy counter")
    history = client.get_metric_history(parent.info.run_id, "raspberrypi4/hypervolume")
    assert [point.step for point in history] == [1, 2, 9]
    assert not list(tmp_path.iterdir())  # mlflow's default store is made in the working folder


def test_pictures_that_come_after_the_front_are_sent(runs: Path) -> None:
    folder = write_study(runs, [example_front(2, 0, study="pictures")])
    mirror = StudyMirror(folder, Connection(runs))
    before = mirror.send().files
    (folder / "report.html").write_text("<p>report</p>")
    (folder / "predictor_raspberrypi4.png").write_bytes(b"picture")
    path = folder / "models" / read_front(folder).finalists[0].id / "architecture.svg"
    path.write_text("<svg/>")
    assert mirror.send().files == before + 3
    client = store(runs)
    names = {file.path for file in client.list_artifacts(the_parent(client, "pictures").info.run_id)}
    assert names >= {"report.html", "predictor_raspberrypi4.png"}
    path.write_text("<svg></svg>")
    assert mirror.send().files == before + 4
    assert mirror.send().files == before + 4


def test_a_long_log_is_read_in_chunks(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.report.tracking.mirror.CHUNK_BYTES", 300)
    folder = write_study(runs, [example_front(2, 0, study="long")], trials=50)
    with (folder / LOG).open("a") as log:
        log.write('{"kind": "trial", "time": "yesterday"}\n[1]\n')
    StudyMirror(folder, Connection(runs)).send()
    client = store(runs)
    assert len(client.get_metric_history(the_parent(client, "long").info.run_id, "raspberrypi4/hypervolume")) == 50


def test_two_searches_begin_in_one_experiment_at_once(tmp_path: Path) -> None:
    """In a store that neither has made yet."""
    runs = tmp_path / "runs"
    folders = [write_study(runs, [example_front(4, 0, study=name)]) for name in ("one", "two")]
    start, errors = threading.Barrier(2), []

    def send(folder: Path) -> None:
        start.wait()
        connection = Connection(runs)
        sending = Background(connection, StudyMirror(folder, connection).send)
        sending.wake()
        errors.append(sending.close(PATIENT))

    threads = [threading.Thread(target=send, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [None, None]
    client = store(runs)
    found = experiment(client)
    assert {each.name for each in client.search_experiments()} == {"Default", found.name}
    for name in ("one", "two"):
        assert the_parent(client, name).info.status == "FINISHED"
        assert len(found_runs(client, name, "candidate")) == 4
    sync(folders[0])
    assert all(f"[{name}](" in experiment(client).tags["mlflow.note.content"] for name in ("one", "two"))


def test_an_experiment_deleted_while_a_search_runs_comes_back(runs: Path) -> None:
    folder = write_study(runs, [replace(example_front(3, 0, study="undone"), space="third_space")])
    mirror = StudyMirror(folder, Connection(runs))
    mirror.send()
    client = store(runs)
    client.delete_experiment(experiment(client, "third_space on digits").experiment_id)
    connection = Connection(runs)
    sending = Background(connection, mirror.send)
    EventLog(folder / LOG).append("trial", {"device": "raspberrypi4", "candidates": 6, "hypervolume": 2.0, "best_accuracy": 1.0})
    sending.wake()
    error = sending.close(PATIENT)
    assert error is None or mirror.send().runs
    assert experiment(client, "third_space on digits").lifecycle_stage == "active"
    assert the_parent(client, "undone").data.metrics["raspberrypi4/hypervolume"] == 2.0
    assert len(found_runs(client, "undone", "candidate")) == 3


def test_a_folder_that_was_renamed(runs: Path, tmp_path: Path) -> None:
    folder = write_study(tmp_path, [example_front(2, 0, study="old-name")]).rename(tmp_path / "new-name")
    with pytest.raises(StudyError, match="holds study 'old-name', by which its storage and MLflow know it"):
        sync(folder)


def test_a_run_that_was_renamed_in_the_ui_is_the_same_run(runs: Path) -> None:
    folder = write_study(runs, [example_front(2, 0, study="named")])
    StudyMirror(folder, Connection(runs)).send()
    client = store(runs)
    client.update_run(the_parent(client, "named").info.run_id, name="my favourite")
    sync(folder)
    assert the_parent(client, "named").info.run_name == "named"


def test_a_front_that_is_broken(runs: Path) -> None:
    folder = write_study(runs, [example_front(2, 0, study="broken")])
    (folder / "fronts" / "raspberrypi4.json").write_text("{")
    with pytest.raises(StudyError, match=r"raspberrypi4\.json"):
        sync(folder)
    write_front(folder, example_front(2, 0, study="broken"))
    assert sync(folder).sent.runs == 2


@pytest.mark.parametrize("error", [StudyError("study gone has no front yet"), FileNotFoundError(2, "No such file or directory")])
def test_a_file_that_goes_while_it_is_read_is_read_the_next_time(error: Exception, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resume or a rebuild writes fronts anew; and what is being written is nobody's file yet."""
    study = f"gone-{type(error).__name__.lower()}"
    folder = write_study(runs, [example_front(2, 0, study=study)])
    home = folder / "models" / read_front(folder).finalists[0].id
    (home / ".model.onnx.1.tmp").write_text("half")
    (folder / "models" / ".x.1.tmp").mkdir()
    (folder / "models" / ".x.1.tmp" / "model.onnx").write_text("half")
    read, errors = mirror_module.read_front, [error]

    def reading(*given: Any) -> Any:
        if errors:
            raise errors.pop()
        return read(*given)

    monkeypatch.setattr(mirror_module, "read_front", reading)
    mirror = StudyMirror(folder, Connection(runs))
    with pytest.raises(TrackingError, match="the study's files cannot be read") as found:
        mirror.send()
    assert not found.value.refused  # `Background` tries again
    mirror.send()
    client = store(runs)
    assert the_parent(client, study).info.status == "FINISHED"
    sent = {path for run in found_runs(client, study, "candidate") for path in files_of(client, run)}
    assert sent == {"model.onnx", "card.md", "architecture.json"}


def test_a_rebuild_that_was_killed_leaves_the_run_as_the_search_ended(runs: Path) -> None:
    folder = write_study(runs, [example_front(2, 0, study="rebuilt")])
    EventLog(folder / LOG).append(BEGIN, {"status": "FINISHED"})
    StudyMirror(folder, Connection(runs)).send()
    client = store(runs)
    assert the_parent(client, "rebuilt").info.status == "RUNNING"
    sync(folder)
    assert the_parent(client, "rebuilt").info.status == "FINISHED"
