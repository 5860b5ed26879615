"""Searches that are killed, starved and cut off, resumed, and looked at: `nas bench chaos`.

Each case is a whole search of about 20 seconds by the command line (digits, mobilenet_tiny, a supernet that is trained already), in
processes of its own. Whatever happens to it, `nas search --resume` must bring it to the end, and then all of `nas.bench.invariants` must
hold.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from nas.bench.invariants import BrokenError, check
from nas.bench.outcome import Mark, Outcome
from nas.bench.postgres import postgres
from nas.errors import InputError, NasError
from nas.report.record import read_front
from nas.search import storage

__all__ = ["run"]

TRIALS, FINALISTS = 30, 2
OPTIONS = ("-d", "raspberrypi4", "--trials", str(TRIALS), "--finalists", str(FINALISTS), "--epochs", "1", "--recipe", "finetune_epochs=2")
KILLS = 30
END_S = 300.0
"""For any one process of a search; it takes some 20 s."""
AWAY_S = 20.0
WHY = "see the row: a defect"
Row = Mapping[str, float | str | bool]


@dataclass(frozen=True)
class _Stage:
    """Where searches run.

    Attributes:
        runs: folder of the studies; the supernet is in its cache.
        accuracies: of an undisturbed search, by arch_id.
        seconds: that it took.
    """

    runs: Path
    accuracies: Mapping[str, float]
    seconds: float

    @contextmanager
    def search(self, study: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """A search that has begun; it is ended with the context."""
        process = _start(self.runs, "--study", study, *OPTIONS, *options)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def check(self, study: str, store: storage.BaseStorage | None = None) -> None:
        """All that must hold of a study that ended."""
        check(self.runs, study, TRIALS, self.accuracies, store)

    def resume(self, study: str) -> None:
        """To the end.

        Raises:
            BrokenError: it does not come to an end, or not well.
        """
        process = _start(self.runs, "--resume", study)
        try:
            code = process.wait(END_S)
        except subprocess.TimeoutExpired as exc:
            process.kill()
            raise BrokenError(f"the resume did not end within {END_S:.0f} s") from exc
        if code:
            raise BrokenError(f"the resume ended with code {code}: {_last_words(self.runs)}")


def _start(runs: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "nas", "search", "--runs", str(runs), *arguments]
    with (runs / "stderr.txt").open("ab") as errors:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)  # noqa: S603


def _last_words(runs: Path) -> str:
    lines = (runs / "stderr.txt").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def run(data: Path, smoke: bool) -> Outcome:
    """Marks kill30 and faults.

    Args:
        data: not used: the images are digits.
        smoke: one kill, a worker that is killed, an interruption.
    """
    del data
    kills = 1 if smoke else KILLS
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="nas-chaos-") as folder:
        stage = _undisturbed(Path(folder) / "runs")
        rows.append({"case": "undisturbed", "held": True, "seconds": stage.seconds})
        rng = np.random.default_rng(0)
        for number, share in enumerate(rng.uniform(0.03, 1.0, kills)):
            rows.append(_tried(f"kill-{number}", functools.partial(_killed, stage, after_s=float(share) * stage.seconds)))
        faults: dict[str, Callable[[str], str]] = {
            "worker-killed": lambda study: _worker(stage, study, signal.SIGKILL),
            "interrupted": lambda study: _signalled(stage, study, signal.SIGINT),
        }
        if not smoke:
            faults |= {
                "terminated": lambda study: _signalled(stage, study, signal.SIGTERM),
                "worker-hangs": lambda study: _worker(stage, study, signal.SIGSTOP, "--evaluation-timeout", "60s"),
                "database-away": lambda study: _database_away(stage, study, Path(folder)),
                "node-removed": lambda study: _node_removed(stage, study),
                "disk-full": lambda study: _disk_full(stage, study, Path(folder)),
            }
        rows += [_tried(name, case) for name, case in faults.items()]
    held = [row for row in rows if str(row["case"]).startswith("kill-") and row["held"]]
    tried = [row for row in rows if row["case"] in faults and "skipped" not in row]
    return Outcome(rows, [
        Mark("kill30", f"searches of {kills} killed at a random moment that end as they must", len(held), kills, "higher", WHY),
        Mark("faults", f"faults survived, of {len(tried)} tried", sum(bool(row["held"]) for row in tried), len(tried), "higher", WHY),
    ])  # fmt: skip


def _tried(name: str, case: Callable[[str], str]) -> Row:
    """A row for a case: held, or what did not hold; skipped where this machine cannot do it."""
    started = time.monotonic()
    try:
        what = case(name)
    except InputError as exc:
        return {"case": name, "skipped": str(exc)}
    except BrokenError as exc:
        return {"case": name, "held": False, "broken": str(exc), "seconds": time.monotonic() - started}
    return {"case": name, "held": True, "what": what, "seconds": time.monotonic() - started}


def _undisturbed(runs: Path) -> _Stage:
    """Trains the supernet, then searches once without disturbance."""
    runs.mkdir(parents=True)
    for study in ("first", "undisturbed"):
        started = time.monotonic()
        code = _start(runs, "--study", study, *OPTIONS).wait(END_S)
        if code:
            raise NasError(f"an undisturbed search ended with code {code}: {_last_words(runs)}")
    seconds = time.monotonic() - started
    front = read_front(runs / "undisturbed")
    accuracies = {each.candidate.arch.arch_id: each.value("accuracy_search") or 0.0 for each in front.candidates}
    stage = _Stage(runs, accuracies, seconds)
    stage.check("undisturbed")
    return stage


def _killed(stage: _Stage, study: str, after_s: float) -> str:
    """kill -9 of the driver; a search that had not begun its study yet is begun again."""
    with stage.search(study) as process:
        time.sleep(after_s)
        process.kill()
    if (stage.runs / study / "config.json").is_file():
        stage.resume(study)
    else:
        shutil.rmtree(stage.runs / study, ignore_errors=True)
        with stage.search(study) as process:
            process.wait(END_S)
    stage.check(study)
    return f"killed after {after_s:.1f} s"


def _worker(stage: _Stage, study: str, number: signal.Signals, *options: str) -> str:
    """A worker process is killed or stopped; the search itself must go on."""
    with stage.search(study, "--workers", "2", *options) as process:
        worker = _a_worker(process)
        time.sleep(1.0)
        worker.send_signal(number)
        _ended_well(process, stage)
    stage.check(study)
    return f"{number.name} to worker {worker.pid}"


def _a_worker(driver: subprocess.Popen[bytes]) -> psutil.Process:
    """A process that evaluates, once there is one."""
    until = time.monotonic() + END_S
    while driver.poll() is None and time.monotonic() < until:
        for child in psutil.Process(driver.pid).children(recursive=True):
            with suppress(psutil.Error):  # some live for a moment only: commands by which a library asks about the machine
                if any("spawn_main" in part for part in child.cmdline()):
                    return child
        time.sleep(0.05)
    raise BrokenError("the search ended before it had a worker" if driver.poll() is not None else "no worker was started")


def _ended_well(process: subprocess.Popen[bytes], stage: _Stage) -> None:
    try:
        code = process.wait(END_S)
    except subprocess.TimeoutExpired as exc:
        raise BrokenError(f"the search did not end within {END_S:.0f} s") from exc
    if code:
        raise BrokenError(f"the search ended with code {code}: {_last_words(stage.runs)}")


def _signalled(stage: _Stage, study: str, number: signal.Signals) -> str:
    """Ctrl-C or SIGTERM in the middle: the search saves and says 130; the resume goes on."""
    with stage.search(study) as process:
        _wait_for_trials(stage, study, 5)
        process.send_signal(number)
        code = process.wait(END_S)
    if code != 130:
        raise BrokenError(f"{number.name} ended the search with code {code}, not 130")
    stage.resume(study)
    stage.check(study)
    return number.name


def _wait_for_trials(stage: _Stage, study: str, count: int) -> None:
    log, until = stage.runs / study / "log.jsonl", time.monotonic() + END_S
    while time.monotonic() < until:
        if log.is_file() and log.read_text(encoding="utf-8").count('"kind": "trial"') >= count:
            return
        time.sleep(0.05)
    raise BrokenError(f"the search had not {count} candidates within {END_S:.0f} s")


def _database_away(stage: _Stage, study: str, folder: Path) -> str:
    """PostgreSQL restarts, then is away for 20 s, while the search goes on."""
    place = folder / "postgres"
    place.mkdir()
    with postgres(place) as server:
        with stage.search(study, "--storage", server.url()) as process:
            for count, away_s in ((3, 0.0), (8, AWAY_S)):
                _wait_for_trials(stage, study, count)
                server.stop()
                time.sleep(away_s)
                server.start()
            _ended_well(process, stage)
        stage.check(study, storage.open_storage(server.url()))
    return f"restarted, then away for {AWAY_S:.0f} s"


def _node_removed(stage: _Stage, study: str) -> str:
    """One of two nodes of a Ray cluster is lost."""
    try:
        from ray.cluster_utils import Cluster
    except ModuleNotFoundError as exc:
        raise InputError("ray is not installed") from exc
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        second = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        with stage.search(study, "--ray", cluster.address) as process:
            _wait_for_trials(stage, study, 3)
            cluster.remove_node(second, allow_graceful=False)
            _ended_well(process, stage)
    finally:
        end: Any = cluster.shutdown  # untyped in Ray's stubs
        end()
    stage.check(study)
    return "one node of two"


def _disk_full(stage: _Stage, study: str, folder: Path) -> str:
    """The study's disk is full in the middle: the search ends with a word, and goes on when there is room."""
    place = folder / "small"
    place.mkdir()
    mounted = subprocess.run(  # noqa: S603
        ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(place)],  # noqa: S607
        capture_output=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        raise InputError("a small file system cannot be mounted here")
    try:
        runs = place / "runs"
        runs.mkdir()
        shutil.copytree(stage.runs / ".cache", runs / ".cache")
        small = _Stage(runs, stage.accuracies, stage.seconds)
        with small.search(study) as process:
            _wait_for_trials(small, study, 5)
            ballast = runs / "ballast"
            with ballast.open("wb") as file:
                _fill(file.fileno())
            code = process.wait(END_S)
        ballast.unlink()
        if code in (0, -signal.SIGKILL):
            raise BrokenError(f"on a full disk the search ended with code {code}")
        small.resume(study)
        small.check(study)
    finally:
        subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)  # noqa: S603, S607
    return f"ended with code {code}, then went on"


def _fill(file: int) -> None:
    """Writes until the disk is full."""
    for size in (2**20, 2**12):
        for _ in range(2**20):
            try:
                os.write(file, b"\0" * size)
            except OSError:
                break
