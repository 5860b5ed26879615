"""The MLflow UI on the local store, opened at a study's Pareto view: the light server as a process of its own, and its end."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path

import httpx
import psutil

from nas.errors import InputError
from nas.report.study import LOCK, is_driven, study_id
from nas.report.tracking import ENVIRONMENT, Connection, TrackingError, find_view, local_store, sync

__all__ = ["HOST", "free_port", "run_server", "serve_ui", "wait_until_ready"]

HOST = "127.0.0.1"
LOOK_S = 1.0
"""Between two looks at whether the server is to end."""
START_S = 90.0
"""Longest wait for the server's first answer; 9 s are usual on two cores."""
STOP_S = 10.0


def serve_ui(folder: Path, port: int, on_ready: Callable[[str], None]) -> None:
    """Serves the MLflow UI of the local store until Ctrl-C or SIGTERM, then stops it and returns.

    What the store lacks of the study is sent to it first, unless the study is being searched: it sends itself.

    Args:
        folder: of the study; the store lies beside it.
        port: 0 picks a free one.
        on_ready: called once, with the address of the study's Pareto view, when the server answers.

    Raises:
        StudyError: the study does not hold together, or nothing is recorded of it.
        InputError: the port cannot be had.
        TrackingError: the server does not start, or ends by itself; the end of its log is in the message.
    """
    runs = folder.parent
    port = free_port(port)
    log = (runs / "mlflow" / "server.log").resolve()
    with suppress(KeyboardInterrupt), _interrupted() as asked, _one_worker() as worker:
        path = worker.submit(_view, folder)
        if not Connection(runs).is_made:
            path.result()  # two processes must not make the tables at once
        with run_server(runs, port, log) as server:
            address = f"http://{HOST}:{port}{path.result()}"
            worker.shutdown()
            wait_until_ready(server, port, log)
            on_ready(address)
            while not asked.is_set():
                with suppress(subprocess.TimeoutExpired):
                    code = server.wait(LOOK_S)
                    raise TrackingError(f"the MLflow server ended by itself with code {code}:\n{_tail(log)}")


@contextmanager
def _one_worker() -> Iterator[ProcessPoolExecutor]:
    """A process for what needs mlflow, which takes 200 MiB: they are free again while the server runs. Ctrl-C is for this process alone."""
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _view(folder: Path) -> str:
    """Path of the study's view, with all that there is of the study behind it; of somebody else's study with what is there."""
    lock = folder / LOCK
    if is_driven(folder) or (lock.exists() and not os.access(lock, os.W_OK)):
        return find_view(Connection(folder.parent), folder.name, study_id(folder))
    return sync(folder).view_path


def free_port(port: int) -> int:
    """The port if it is free, any free one for 0.

    Raises:
        InputError: it is taken, or cannot be used.
    """
    with socket.socket() as probe:
        if sys.platform != "win32":  # where it would share a port that is taken
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as exc:
            reason = "is taken" if isinstance(exc, OSError) and exc.errno == errno.EADDRINUSE else f"cannot be used ({exc})"
            raise InputError(f"port {port} {reason}: choose another one with --port, or a free one with --port 0") from exc
        return int(probe.getsockname()[1])


@contextmanager
def run_server(runs: Path, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The light server on the local store, with whatever it starts gone when the block ends.

    Args:
        log: file for what it prints.

    Raises:
        TrackingError: it cannot be started.
    """
    artifacts = (runs / "mlflow" / "artifacts").resolve()
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", local_store(runs), "--artifacts-destination", artifacts.as_uri()]
    environment = {**ENVIRONMENT, **os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    try:
        with log.open("wb") as output:
            server = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, cwd=log.parent, start_new_session=True
            )
    except OSError as exc:
        raise TrackingError(f"the MLflow server cannot be started: {exc}") from exc
    try:
        yield server
    finally:
        _stop(server)


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Ends the server and whatever it started: kindly, then not."""
    if sys.platform == "win32":
        _stop_family(server)
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(server.pid, number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(STOP_S)
        deadline = time.monotonic() + STOP_S
        while _alive(server.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not _alive(server.pid):
            return


def _alive(group: int) -> bool:
    """Whether any process of the group is left."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):  # the latter is what macOS says of a group of zombies
        return False
    return True


def _stop_family(server: subprocess.Popen[bytes]) -> None:
    """Where there are no process groups, and no way of asking: the server with its descendants."""
    with suppress(psutil.Error):
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        for each in family:
            with suppress(psutil.Error):
                each.kill()
        psutil.wait_procs(family, STOP_S)
    with suppress(subprocess.TimeoutExpired):
        server.wait(STOP_S)


def wait_until_ready(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Returns when the server answers.

    Raises:
        TrackingError: it ended, or does not answer within 90 s.
    """
    deadline = time.monotonic() + START_S
    with httpx.Client(trust_env=False, timeout=5) as client:
        while time.monotonic() < deadline:
            if server.poll() is not None:
                raise TrackingError(f"the MLflow server ended before it answered (code {server.returncode}):\n{_tail(log)}")
            with suppress(httpx.TransportError):
                if client.get(f"http://{HOST}:{port}/health").is_success:
                    return
            time.sleep(0.1)
    raise TrackingError(f"the MLflow server did not answer within {START_S:.0f} s; the end of {log}:\n{_tail(log)}")


def _tail(log: Path, lines: int = 8) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.is_file() else "(no log)"


@contextmanager
def _interrupted() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM end the block; other threads than the main one cannot ask for that.

    Gives an event that they set too: Python drops an exception that is raised inside a destructor or a callback, where a signal may hit.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def interrupt(_number: int, _frame: object) -> None:
        asked.set()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
