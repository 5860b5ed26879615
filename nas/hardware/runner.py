"""The program that measures on a device: a line of JSON in, a line of JSON out, until the input ends or nobody asks for 15 minutes.

    python3 runner.pyz --home DIR [--lock FILE]

The first line out is `jobs.hello()`, or why nothing can be done here. Standard output holds nothing else: what libraries print goes to
standard error. One runner measures at a time: another of the same home is the same measuring after a broken connection, and is ended.

This file also runs on the device, without the rest of the package: Python 3.9 (see `transports.bundle`).
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

__all__ = ["main"]

OLDEST_PYTHON = (3, 9)
_TAKE_OVER_S = 20.0
_STALE_S = 7 * 86400.0
_IDLE_S = 900.0
_WHY = 300


def main(argv: list[str] | None = None) -> int:
    """Serves jobs; the exit status is 0 once the input ends, 1 where nothing can be done."""
    parser = argparse.ArgumentParser(prog="runner")
    parser.add_argument("--home", type=Path, required=True, help="folder for models and results")
    parser.add_argument("--lock", type=Path, help="file that keeps a second measuring off the device")
    options = parser.parse_args(argv)
    # Protocol lines go to a copy of standard output; the number itself now leads to standard error.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        reason = _missing()
        if reason:
            _say(out, {"id": "hello", "ok": False, **reason})
            return 1
        try:
            options.home.mkdir(parents=True, exist_ok=True)
            lock = _take(options.lock, str(options.home.resolve())) if options.lock else None
        except OSError as exc:
            _say(out, {"id": "hello", "ok": False, "kind": "disk", "message": f"{exc.filename or options.home}: {exc.strerror}"})
            return 1
        if options.lock and lock is None:
            other = options.lock.read_text(encoding="utf-8", errors="replace").split(" ", 1)[0]
            _say(out, {"id": "hello", "ok": False, "kind": "busy", "message": f"another measuring runs on it (process {other})"})
            return 1
        if options.lock:
            _remove_stale(options.home)
        _serve(options.home, out)
    except BrokenPipeError:
        # Nobody listens any more: what was measured is in a file. Nothing must be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
    return 0


def _missing() -> dict[str, str]:
    """What must be installed or mended first; empty where all is there."""
    if sys.version_info < OLDEST_PYTHON:
        return {"kind": "python", "message": f"Python {sys.version.split()[0]} is too old: {'.'.join(map(str, OLDEST_PYTHON))} or newer"}
    reason = _absent("numpy")
    if reason:
        return reason
    from nas.hardware.jobs import hello

    if hello()["runtimes"]:
        return {}
    return _absent("onnxruntime") or {"kind": "target", "message": "onnxruntime is there and does not work: install it anew"}


def _absent(library: str) -> dict[str, str]:
    """Why a library cannot be used: it is missing, or a part of the system that it needs is; empty where it can."""
    try:
        importlib.import_module(library)
    except (ImportError, AttributeError, OSError) as exc:
        if isinstance(exc, ModuleNotFoundError) and exc.name == library:
            return {"kind": "missing", "message": library}
        why = " ".join(str(exc.__cause__ or exc).split())[:_WHY]  # numpy's own words are a page, with the cause behind them
        return {"kind": "target", "message": f"{library} is there and does not load: {why}"}
    return {}


def _serve(home: Path, out: IO[str]) -> None:
    from nas.hardware.jobs import Jobs, hello

    jobs = Jobs(home)
    _say(out, hello())
    for line in _lines():
        if not line.strip():
            continue
        try:
            job = json.loads(line)
        except ValueError as exc:
            _say(out, {"id": "", "ok": False, "kind": "input", "message": f"a line that is no JSON: {exc}"})
            continue
        if job.get("op") == "stop":
            _say(out, {"id": job.get("id", ""), "ok": True})
            break
        _say(out, jobs.answer(job))
    jobs.close()


def _lines() -> Iterator[str]:
    """Lines of standard input until it ends, or nobody asks for long: that a client has vanished a network may not tell for hours."""
    alarm = getattr(signal, "setitimer", None)  # not on Windows
    if alarm is not None:
        signal.signal(signal.SIGALRM, _give_up)
    with suppress(TimeoutError):
        while True:
            if alarm is not None:
                alarm(signal.ITIMER_REAL, _IDLE_S)
            line = sys.stdin.readline()
            if alarm is not None:
                alarm(signal.ITIMER_REAL, 0)
            if not line:
                return
            yield line


def _give_up(*_: object) -> None:
    raise TimeoutError


def _say(out: IO[str], answer: dict[str, Any]) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()


def _take(path: Path, home: str) -> IO[str] | None:
    """Locks the file for as long as this process lives. A runner of the same home is ended first; None where another one holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = path.open("a+", encoding="utf-8")
    try:
        import fcntl
    except ImportError:  # Windows: nothing is locked
        return handle
    end = time.monotonic() + _TAKE_OVER_S
    told = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            pid, _, holder = handle.read().partition(" ")
            if holder != home or time.monotonic() > end:
                return None
            if not told and pid.isdigit():
                told = True
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(int(pid), signal.SIGTERM)
            time.sleep(0.05)
            continue
        except OSError:  # a file system without locks: it will do without
            return handle
        handle.seek(0)
        handle.truncate()
        handle.write(f"{os.getpid()} {home}")
        handle.flush()
        return handle


def _remove_stale(home: Path) -> None:
    """Homes beside this one that nobody came back for in a week."""
    for folder in home.resolve().parent.iterdir():
        if folder.is_dir() and folder.name != home.resolve().name and time.time() - folder.stat().st_mtime > _STALE_S:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
