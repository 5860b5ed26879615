"""What MLflow costs a search, and what a person waits for: logging, the light server, the view in a browser, a server that is dead."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil

from nas.bench.made_up import made_up_front, write_made_up_study
from nas.bench.outcome import Mark, Outcome
from nas.bench.page import open_browser, open_view
from nas.errors import NasError
from nas.report.front import FrontRecord
from nas.report.runs import StudyRun, gene_params, run_metrics, run_tags
from nas.report.tracking import Connection, Tracker, sync
from nas.report.ui import HOST, free_port, run_server, wait_until_ready

__all__ = ["run"]

MEMBERS, STUDIES = 60, 50
WHY = "the machine was shared while it ran, or is slow"
SEARCH = ("search", "--device", "raspberrypi4", "--seed", "1", "--json")
Row = Mapping[str, float | str | bool]


def run(data: Path, smoke: bool) -> Outcome:
    """Fronts of real networks with made-up accuracies in stores of their own; a real search on digits with each kind of server.

    Args:
        data: not used: digits come with a package.
        smoke: a few small studies, and one small search with each server.
    """
    del data
    members, studies, repeats = (8, 2, 1) if smoke else (MEMBERS, STUDIES, 3)
    with tempfile.TemporaryDirectory() as home:
        runs = Path(home) / "runs"
        logged = [_logging(runs, "SQLite", None, members, repeats), _fluent(runs, members)]
        with _serving(runs) as address:
            logged.append(_logging(runs, "HTTP", address, members, repeats))
        for number in range(studies):
            sync(write_made_up_study(runs, f"study-{number:02}", members, number))
        shown = _looked_at(runs, "study-00", members)
        slowed = _searched(Path(home) / "searches", smoke, repeats)
    ratio = max(float(row["ratio"]) for row in slowed)
    at = {str(row["to"]): float(row["ms_a_run"]) for row in logged if row["how"] == "nas"}
    return Outcome([*logged, shown, *slowed], [
        Mark("clicks", "clicks from the printed link to accuracy against latency", float(shown["clicks"]), 0, "lower", "MLflow's view"),
        Mark("log-ms", f"a front of {members} to SQLite, ms a run", at["SQLite"], 25, "lower", WHY),
        Mark("log-http-ms", f"a front of {members} to a local server, ms a run", at["HTTP"], 200, "lower", WHY),
        Mark("ui-s", "nas ui prints the address of a server that answers, s", float(shown["ui_s"]), 12, "lower", WHY),
        Mark("ui-mib", "resident memory of nas ui and its server, MiB", float(shown["ui_mib"]), 700, "lower", "MLflow's server"),
        Mark("dead-server", "wall-clock of a search, dead server over local store, worse of two", ratio, 1.05, "lower", WHY),
        Mark("view-s", f"a view in chromium, {studies} studies of {members} in the store, s", float(shown["view_s"]), 6, "lower", WHY),
    ])  # fmt: skip


def _logging(runs: Path, kind: str, uri: str | None, members: int, repeats: int) -> Row:
    """Median over `repeats` fronts, after one that is not timed."""
    times = []
    for number in range(repeats + 1):
        front = made_up_front(f"{kind}-{number}", members, members, number)
        tracker = Tracker(Connection(runs, uri))
        tracker.start(_study(front))
        started = time.perf_counter()
        tracker.log_front(front)
        times.append(time.perf_counter() - started)
    return {"to": kind, "how": "nas", "ms_a_run": round(1e3 * float(np.median(times[1:])) / members, 1)}


def _fluent(runs: Path, members: int) -> Row:
    """The same runs by mlflow's fluent functions, one call a kind of value: what most projects do."""
    import mlflow

    front = made_up_front("fluent", members, members, 1)
    mlflow.set_tracking_uri(Connection(runs).uri)
    mlflow.set_experiment("fluent")
    started = time.perf_counter()
    with mlflow.start_run(run_name="fluent"):
        for rank, each in enumerate(front.front, 1):
            with mlflow.start_run(run_name=each.id, nested=True):
                mlflow.log_params(gene_params(each))
                mlflow.log_metrics(run_metrics(each))
                mlflow.set_tags({key: value for key, value in run_tags(each, front, rank, ()).items() if not key.startswith("mlflow.")})
    return {"to": "SQLite", "how": "mlflow's fluent functions", "ms_a_run": round(1e3 * (time.perf_counter() - started) / members, 1)}


def _study(front: FrontRecord) -> StudyRun:
    return StudyRun(front.study, front.space, {"trials": len(front.candidates)}, {"name": front.data}, devices=(front.device,))


@contextmanager
def _serving(runs: Path) -> Iterator[str]:
    port, log = free_port(0), runs / "mlflow" / "server.log"
    with run_server(runs, port, log) as server:
        wait_until_ready(server, port, log)
        yield f"http://{HOST}:{port}"


def _looked_at(runs: Path, study: str, members: int) -> Row:
    """`nas ui` as a user starts it, and its page as a user sees it."""
    command = [sys.executable, "-m", "nas", "ui", study, "--port", "0", "--no-open", "--runs", str(runs)]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            address = process.stdout.readline().strip() if process.stdout else ""
            ui_s = time.perf_counter() - started
            if not address:
                raise NasError(f"nas ui did not start: {process.communicate()[1]}")
            mine = psutil.Process(process.pid)
            resident = sum(each.memory_info().rss for each in (mine, *mine.children(recursive=True)))
            with open_browser(is_root=os.getuid() == 0) as browser:
                seen = [open_view(browser.new_page(), address, "latency_ms", "accuracy_search", 60.0) for _ in range(2)]
        finally:
            process.send_signal(signal.SIGINT)
    if len(seen[0].points) != members:
        raise NasError(f"the view shows {len(seen[0].points)} points of {members}")
    return {
        "ui_s": round(ui_s, 1), "ui_mib": round(resident / 2**20), "clicks": float(seen[0].clicks), "view_s": round(seen[0].seconds, 1),
        "view_again_s": round(seen[1].seconds, 1),
    }  # fmt: skip


def _searched(home: Path, smoke: bool, repeats: int) -> list[Row]:
    """Searches in turns: with the local store, with a server that refuses, with one that never answers. The supernet is trained before."""
    home.mkdir()
    size = ("--epochs", "1", "--trials", "3", "--finalists", "1") if smoke else ("--epochs", "2", "--trials", "150", "--finalists", "3")
    took: dict[str, list[float]] = {"local": [], "refuses": [], "silent": []}
    with socket.socket() as silent:
        silent.bind((HOST, 0))
        silent.listen()
        servers = {"local": "", "refuses": f"http://{HOST}:{free_port(0)}", "silent": f"http://{HOST}:{silent.getsockname()[1]}"}
        _search(home, "first", size, "")
        for number in range(repeats):
            for name, uri in servers.items():
                took[name].append(_search(home, f"{name}-{number}", size, uri))
    return [
        {
            "server": name, "search_s": round(float(np.median(took[name])), 1), "local_s": round(float(np.median(took["local"])), 1),
            "ratio": round(float(np.median([dead / local for dead, local in zip(took[name], took["local"], strict=True)])), 3),
        }
        for name in ("refuses", "silent")
    ]  # fmt: skip


def _search(home: Path, study: str, size: tuple[str, ...], uri: str) -> float:
    command = [sys.executable, "-m", "nas", *SEARCH, "--study", study, *size, *(("--tracking-uri", uri) if uri else ())]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise NasError(f"the search failed: {done.stderr}")
    return time.perf_counter() - started
