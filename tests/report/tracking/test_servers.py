"""Servers and stores that fail: one clear line, nothing lost, and a search that does not notice."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from nas.errors import InputError, StudyError
from nas.report.runs import StudyRun
from nas.report.tracking import Background, Connection, StudyMirror, Tracker, TrackingError, check_uri, sync
from nas.report.tracking.background import Patience
from tests.report.strategies import example_front
from tests.report.studies import write_study
from tests.report.tracking.conftest import Answering
from tests.report.tracking.stores import everything, experiment, found_runs, store, study_run, the_parent


@pytest.mark.parametrize(
    "uri",
    ["http://host:5000", "https://me:secret@host/mlflow", "sqlite:////tmp/m.db", "postgresql://me@host/db", "mysql+pymysql://me@host/db"],
)
def test_a_uri_that_can_be_one(uri: str) -> None:
    assert check_uri(uri) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "host:5000",
        "http://",
        "http:/host",
        "http://host:port",
        "http://host:99999",
        "htp://host",
        "./mlruns",
        "file:///tmp",
        "http://a b",
    ],
)
def test_a_uri_that_can_not(uri: str) -> None:
    with pytest.raises(InputError, match="--tracking-uri must be http"):
        check_uri(uri)


def test_a_bad_uri_with_a_password_does_not_show_it() -> None:
    with pytest.raises(InputError) as error:
        check_uri("htp://me:secret@host")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("http://somebody:secret@127.0.0.1:9/", "127.0.0.1"),
        ("sqlite:////proc/nowhere/mlflow.db", "/proc/nowhere"),
        ("gopher://host/", "gopher"),
        ("sqlite:///{tmp}/text.db", "text.db away, and nas sync STUDY"),
    ],
)
def test_a_store_that_fails_is_one_clear_error(uri: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is not a database " * 100)
    with pytest.raises(TrackingError, match=r"tracking to .* failed: ") as failure:
        Tracker(Connection(tmp_path, uri.format(tmp=tmp_path))).start(study_run("digits-1"))
    assert says in str(failure.value)
    assert "secret" not in str(failure.value)
    assert len(str(failure.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("status", "words", "refused"),
    [
        (401, ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME"), True),
        (403, ("--allowed-hosts",), True),
        (404, ("404",), False),
        (429, ("429",), False),
        (500, ("500",), False),
        (503, ("503",), False),
        (200, ("JSON",), False),
    ],
)
def test_what_a_server_answers(status: int, words: tuple[str, ...], refused: bool, answering: Answering, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"tracking to .* failed: ") as failure:
        Tracker(Connection(tmp_path, answering(status))).start(study_run("digits-1"))
    assert all(word in str(failure.value) for word in words), failure.value
    assert failure.value.refused == refused
    assert failure.value.exit_code == (2 if refused else 4)
    assert len(str(failure.value).splitlines()) == 1


def test_a_host_that_the_server_does_not_know(answering: Answering, server: str, tmp_path: Path) -> None:
    """MLflow's own 403, for a Host header that is not on its list."""
    address = answering(500, after=1000, upstream=server, host="mlflow.example")
    with pytest.raises(TrackingError, match="--allowed-hosts") as failure:
        Tracker(Connection(tmp_path, address)).start(study_run("digits-1"))
    assert failure.value.refused


def test_a_token_opens_the_server(answering: Answering, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_study(tmp_path, [example_front(2, 0, study="token")])
    address = answering(401, upstream=server, token="open sesame".replace(" ", "-"))
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_TOKEN"):
        sync(folder, address)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "open-sesame")
    assert sync(folder, address).sent.runs == 3
    assert len(found_runs(store(tmp_path, server), "token", "candidate")) == 2


@pytest.mark.parametrize("after", [9, 40])
def test_a_server_that_fails_half_way(after: int, answering: Answering, server: str, tmp_path: Path) -> None:
    """Among the runs, among the files: the next try sends the rest, and nothing twice."""
    study = f"half-{after}"
    folder = write_study(tmp_path, [example_front(4, 2, study=study)])
    address = answering(500, after=after, failures=1, upstream=server)
    connection = Connection(tmp_path, address)
    mirror = StudyMirror(folder, connection)
    with pytest.raises(TrackingError, match="the server answered 500"):
        mirror.send()
    assert mirror.send().models == 4
    client = store(tmp_path, server)
    found = everything(client, study)
    assert len(found["runs"]) == 5
    assert all(run[0] == "FINISHED" for run in found["runs"].values())
    assert all(len(points) == 1 for key, run in found["runs"].items() if key.startswith("candidate") for points in run[3].values())
    ((_, aliases, versions),) = found["models"].values()
    assert len(versions) == 4
    assert len(aliases) == 3
    assert sync(folder, address).sent.words() == "nothing: all of it is there"


def test_a_server_that_never_answers(answering: Answering, tmp_path: Path) -> None:
    folder = write_study(tmp_path, [example_front(2, 0, study="silence")])
    connection = Connection(tmp_path, answering(200, silence_s=60))
    sending = Background(connection, StudyMirror(folder, connection).send)
    sending.wake()
    assert "no answer" in str(sending.close(Patience(silence_s=0.5, least_s=3.0)))


def test_artifacts_that_cannot_be_written_keep_nothing_else_back(runs: Path) -> None:
    """A full disk, or a folder of somebody else's: the runs and the view are there, and the rest comes when there is room."""
    folder = write_study(runs, [replace(example_front(3, 2, study="full"), space="full")])
    place = runs / "mlflow" / "artifacts" / "full_on_digits"
    place.write_text("in the way")
    with pytest.raises(TrackingError, match=r"failed: .*full_on_digits"):
        sync(folder)
    client = store(runs)
    assert len(found_runs(client, "full", "candidate")) == 3
    assert json.loads(experiment(client, "full on digits").tags["mlflow.sharedViewState.full"])
    place.unlink()
    assert sync(folder).sent.models == 3
    assert the_parent(client, "full").info.status == "FINISHED"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "mlflow").write_text("")
    with pytest.raises(TrackingError, match="failed"):
        Tracker(Connection(tmp_path)).start(StudyRun("digits-1", "s", {}, {"name": "d"}))


def test_what_a_client_of_an_artifact_store_raises_is_a_failure_of_the_store(tmp_path: Path) -> None:
    """botocore's errors are neither MLflow's nor Python's."""
    error = type("EndpointConnectionError", (Exception,), {"__module__": "botocore.exceptions"})
    connection, outcomes, done = Connection(tmp_path), [error("Could not connect to http://me:secret@minio:9000"), None], threading.Event()

    def send() -> None:
        with connection.client():
            outcome = outcomes.pop(0)
            if outcome is not None:
                raise outcome
        done.set()

    with pytest.raises(TrackingError, match=r"tracking to .* failed: Could not connect to http://\*\*\*@minio:9000$") as failure:
        send()
    assert not failure.value.refused
    outcomes.insert(0, error("away"))
    sending = Background(connection, send)
    sending.wake()
    assert done.wait(60)
    assert sending.close() is None


@pytest.mark.parametrize("error", [KeyError("a bug"), StudyError("another study has it")])
def test_what_is_no_failure_of_the_store_stays_what_it_is(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as found, Connection(tmp_path).client():
        raise error
    assert found.value is error


class Absent:
    """An import system in which no library of Amazon's is found, whatever is installed."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in ("boto3", "botocore"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_a_library_that_an_artifact_store_needs_is_named(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    for name in [each for each in sys.modules if each.partition(".")[0] in ("boto3", "botocore")]:
        monkeypatch.delitem(sys.modules, name)
    folder = write_study(runs, [replace(example_front(2, 0, study="bucket"), space="bucket")])
    store(runs).create_experiment("bucket on digits", artifact_location="s3://bucket/runs")
    with pytest.raises(TrackingError, match=r"failed: No module named 'boto(3|core)': pip install boto3$") as failure:
        sync(folder)
    assert failure.value.refused
    assert failure.value.exit_code == 2
    assert len(found_runs(store(runs), "bucket", "candidate")) == 2
