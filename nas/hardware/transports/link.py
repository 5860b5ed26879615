"""A runner at the end of two pipes, whatever program leads to it."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import IO, Any

from nas.errors import LinkLostError

__all__ = ["Link"]

_ERROR_LINES = 20
_END_S = 5.0
_WORDS_S = 1.0


class Link:
    """Starts a program and speaks lines of JSON with it.

    Args:
        argv: the program and its arguments.
        env: its environment; this process's by default.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        try:
            self._process = subprocess.Popen(  # noqa: S603
                list(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
                errors="replace", env=None if env is None else dict(env), start_new_session=True,
            )  # fmt: skip
        except OSError as exc:
            raise LinkLostError(f"cannot start {argv[0]}: {exc.strerror}") from exc
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._errors: deque[str] = deque(maxlen=_ERROR_LINES)
        self._errors_thread = threading.Thread(target=self._read_errors, daemon=True)
        self._threads = [self._errors_thread, threading.Thread(target=self._read, daemon=True)]
        for thread in self._threads:
            thread.start()

    def send(self, job: Mapping[str, Any]) -> None:
        """Raises LinkLostError where nobody reads."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as exc:
            raise LinkLostError(f"the runner does not listen any more: {self.errors() or exc}") from exc

    def receive(self, name: str, timeout_s: float) -> dict[str, Any]:
        """The answer with the id `name`; other lines are passed over.

        Raises:
            LinkLostError: the program ended, or no answer came in time.
        """
        end = time.monotonic() + timeout_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise LinkLostError(f"no answer from the runner in {timeout_s:.0f} s") from None
            if line is None:
                self._lines.put(None)
                raise LinkLostError(f"the runner ended: {self.errors() or 'it said nothing'}")
            with contextlib.suppress(ValueError):
                answer = json.loads(line)
                if isinstance(answer, dict) and answer.get("id") == name:
                    return answer

    def errors(self) -> str:
        """Last lines of its standard error."""
        return "\n".join(self._errors)

    def status(self) -> int | None:
        """Exit status, waiting a moment for it; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(_END_S)
        return None

    def close(self) -> None:
        """Ends the program: first its input, then itself."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(_END_S)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        _each_line(self._process.stdout, self._lines.put)
        self._errors_thread.join(_WORDS_S)  # why it ended
        self._lines.put(None)

    def _read_errors(self) -> None:
        _each_line(self._process.stderr, lambda line: self._errors.append(line.rstrip()))


def _each_line(pipe: IO[str] | None, take: Any) -> None:
    with contextlib.suppress(ValueError, OSError):  # closed while it was read
        for line in pipe or ():
            take(line)
