"""`nas ui` for real: the server answers, shows the study, and leaves no process behind."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from nas.errors import InputError, StudyError
from nas.report import ui
from nas.report.tracking import TrackingError
from nas.report.ui import free_port, serve_ui


def test_the_server_shows_the_study_and_stops_on_sigterm(runs: Path) -> None:
    seen: dict[str, object] = {}
    handler = signal.getsignal(signal.SIGTERM)
    before = set(psutil.Process().children(recursive=True))

    def look(address: str) -> None:
        base, _, view = address.partition("/#/experiments/")
        experiment_id = view.split("/")[0]
        with httpx.Client(base_url=f"{base}/api/2.0/mlflow/", trust_env=False, timeout=30) as client:
            experiment = client.get("experiments/get", params={"experiment_id": experiment_id}).json()["experiment"]
            query = {
                "experiment_ids": [experiment_id],
                "filter": "tags.kind = 'candidate' AND tags.study = 'digits-1'",
                "max_results": 1000,
            }
            seen["runs"] = client.post("runs/search", json=query).json()["runs"]
            (parent,) = client.post("runs/search", json={**query, "filter": "tags.kind = 'search' AND tags.study = 'digits-1'"}).json()[
                "runs"
            ]
            page = client.get(f"{base}/get-artifact", params={"path": "front.html", "run_uuid": parent["info"]["run_id"]})
        seen["tags"] = [tag["key"] for tag in experiment["tags"]]
        seen["page"] = page.text
        seen["view"] = view
        new = set(psutil.Process().children(recursive=True)) - before
        seen["children"] = [each for each in new if "resource_tracker" not in " ".join(each.cmdline())]  # Python's own
        os.kill(os.getpid(), signal.SIGTERM)

    serve_ui(runs / "digits-1", 0, look)
    assert len(seen["runs"]) == 12  # type: ignore[arg-type]
    assert "mlflow.sharedViewState.digits-1" in seen["tags"]  # type: ignore[operator]
    assert "viewStateShareKey=digits-1&compareRunsMode=CHART" in str(seen["view"])
    assert "<title>digits-1" in str(seen["page"])
    children = seen["children"]
    assert isinstance(children, list)
    assert children
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    assert signal.getsignal(signal.SIGTERM) is handler


@pytest.mark.usefixtures("_in_this_process")
def test_no_study(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"config\.json: cannot be read"):
        serve_ui(tmp_path / "digits-1", 0, print)


def test_a_port_that_cannot_be_had(runs: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} is taken: choose another one with --port, or a free one with --port 0"):
            serve_ui(runs / "digits-1", port, print)
    with pytest.raises(InputError, match="port 99999 cannot be used"):
        serve_ui(runs / "digits-1", 99999, print)


@pytest.fixture
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is asked here: loading mlflow in another process takes seconds."""
    monkeypatch.setattr(ui, "_one_worker", lambda: ThreadPoolExecutor(1))


@pytest.mark.usefixtures("_in_this_process")
@pytest.mark.parametrize(
    ("script", "says"), [("echo boom; exit 3", r"ended before it answered \(code 3\):\nboom"), ("echo slow; sleep 60", "slow")]
)
def test_a_server_that_does_not_start(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(ui, "START_S", 0.5)
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(TrackingError, match=says):
        serve_ui(runs / "digits-1", 0, print)
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.mark.usefixtures("_in_this_process")
def test_a_server_that_ends_by_itself(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho bye\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(ui, "wait_until_ready", lambda *_: None)
    with pytest.raises(TrackingError, match=r"ended by itself with code 0:\nbye"):
        serve_ui(runs / "digits-1", 0, lambda _: None)


def test_a_taken_port_is_named_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors have other numbers elsewhere: it is 48 on macOS, 10048 on Windows."""
    monkeypatch.setattr(errno, "EADDRINUSE", 48)

    def bind(_probe: socket.socket, _address: object) -> None:
        raise OSError(48, "Address already in use")

    monkeypatch.setattr(socket.socket, "bind", bind)
    with pytest.raises(InputError, match="port 5000 is taken"):
        free_port(5000)


def test_a_group_that_nobody_may_signal_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS answers so when only zombies are left of it."""

    def killpg(_group: int, _number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "killpg", killpg)
    assert not ui._alive(12345)


def test_a_server_ends_with_what_it_started_where_there_are_no_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["sh", "-c", "sleep 60 & echo started; wait"], stdout=subprocess.PIPE, start_new_session=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"started\n"
        children = psutil.Process(server.pid).children(recursive=True)
        assert children
        monkeypatch.setattr(ui, "STOP_S", 0.5)
        monkeypatch.delattr(os, "killpg")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "platform", "win32")
            ui._stop(server)
        assert server.returncode is not None
        assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
