"""This machine: the runner is another process of the same Python, so that its memory, threads and crashes are its own."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nas.errors import LinkLostError, TargetError
from nas.hardware.transports.link import Link

__all__ = ["LocalTransport"]

_HELLO_S = 60.0


class LocalTransport:
    """Measures here.

    Args:
        address: "local".
        key: of the measuring; unused, nothing stays behind.
    """

    def __init__(self, address: str = "local", key: str = "") -> None:
        del key
        self.address = address
        self._home: Path | None = None
        self._link: Link | None = None

    def connect(self) -> Mapping[str, Any]:
        if self._link is not None:
            self._link.close()
        if self._home is None:
            self._home = Path(tempfile.mkdtemp(prefix="nas-runner-"))
        self._link = Link([sys.executable, "-m", "nas.hardware.runner", "--home", str(self._home)], dict(os.environ))
        answer = self._link.receive("hello", _HELLO_S)
        if not answer.get("ok"):
            self.close()
            raise TargetError(f"this machine cannot measure: {answer.get('message')} is missing")
        return answer

    def put(self, path: Path, name: str) -> None:
        if self._home is None:
            raise LinkLostError("the runner was not started")
        target = self._home / "models" / name
        part = target.with_name(f".{name}.part")
        try:
            shutil.copyfile(path, part)
            part.replace(target)
        except OSError as exc:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise TargetError(f"cannot copy the model to {target.parent}: {exc.strerror}: free some space or set TMPDIR") from exc

    def ask(self, job: Mapping[str, Any], timeout_s: float) -> Mapping[str, Any]:
        if self._link is None:
            raise LinkLostError("the runner was not started")
        self._link.send(job)
        return self._link.receive(str(job["id"]), timeout_s)

    def close(self, keep: bool = False) -> None:
        del keep  # nobody could find it again
        if self._link is not None:
            self._link.close()
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
        self._link = self._home = None
