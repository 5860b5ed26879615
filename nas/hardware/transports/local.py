"""This machine: the runner is another process of the same Python, so that its memory, threads and crashes are its own.

Its folder and its lock are where a runner over ssh has them: whoever measures under this account, and by whatever way, does so alone.
"""

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
    """Measures here. Files go to hwnas/ in ~/.cache, or in the folder that NAS_CACHE names.

    Args:
        address: "local".
        key: of the measuring: the same one takes over what a crash left; a new one by default.
    """

    def __init__(self, address: str = "local", key: str = "") -> None:
        self.address = address
        self._key = key
        self._home: Path | None = None
        self._link: Link | None = None

    def connect(self) -> Mapping[str, Any]:
        if self._link is not None:
            self._link.close()
        home = self._home = self._home or _new_home(self._key)
        lock = home.parent / "lock"
        # -P: without the current folder, whose files are not to be taken for modules.
        argv = [sys.executable, "-P", "-m", "nas.hardware.runner", "--home", str(home), "--lock", str(lock)]
        self._link = Link(argv, dict(os.environ))
        answer = self._link.receive("hello", _HELLO_S)
        if not answer.get("ok"):
            self.close()
            raise _refused(answer)
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
            raise TargetError(f"cannot copy the model to {target.parent}: {exc.strerror}: free some space or set NAS_CACHE") from exc

    def ask(self, job: Mapping[str, Any], timeout_s: float) -> Mapping[str, Any]:
        if self._link is None:
            raise LinkLostError("the runner was not started")
        self._link.send(job)
        return self._link.receive(str(job["id"]), timeout_s)

    def close(self, keep: bool = False) -> None:
        if self._link is not None:
            self._link.close()
        if self._home is not None and not (keep and self._key):  # without a key nobody could find it again
            shutil.rmtree(self._home, ignore_errors=True)
        self._link = self._home = None


def _new_home(key: str) -> Path:
    """The runner's folder, for this user alone."""
    try:
        root = Path(os.environ.get("NAS_CACHE") or Path.home() / ".cache") / "hwnas"
        root.mkdir(parents=True, exist_ok=True)
        if not key:
            return Path(tempfile.mkdtemp(prefix="local-", dir=root))
        home = root / f"local-{key}"
        home.mkdir(mode=0o700, exist_ok=True)
    except (OSError, RuntimeError) as exc:  # RuntimeError: there is no home folder
        raise TargetError(f"this machine: no folder to measure in: {exc}: set NAS_CACHE to one that can be written to") from exc
    return home


def _refused(answer: Mapping[str, Any]) -> TargetError:
    kind, message = answer.get("kind"), answer.get("message")
    if kind == "missing":
        return TargetError(f"this machine cannot measure: {message} is missing")
    return TargetError(f"this machine: {message}{': wait until it is done' if kind == 'busy' else ''}")
