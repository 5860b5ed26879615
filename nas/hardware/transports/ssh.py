"""A device behind the system's `ssh`, which honours ~/.ssh/config. Nothing is installed there: one file is copied, and removed at the end.

The device needs Python 3.9 or newer with numpy and onnxruntime: those of ~/.hwnas/bin/python where that is there, else of python3.
Exit status 255 may be ssh's own or the remote program's: every remote step ends with a line of JSON, and where that is missing ssh failed.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nas.errors import InputError, LinkLostError, TargetError
from nas.hardware.transports.bundle import bundle, tar
from nas.hardware.transports.link import Link

__all__ = ["SshAddress", "SshTransport", "parse_address"]

_FOLDER = ".cache/hwnas"  # below the home folder there
_CONNECT_S = 10
_HELLO_S = 120.0  # a small board imports numpy and onnxruntime from a slow card
_COPY_S = 300.0
_DONE = '{"done": true}'
_MADE = '{"made": true}'
_INSTALL = "python3 -m venv ~/.hwnas && ~/.hwnas/bin/pip install onnxruntime"


@dataclass(frozen=True, slots=True)
class SshAddress:
    """ssh://[user@]host[:port]; host may be a name of ~/.ssh/config."""

    destination: str
    port: int | None = None

    def __str__(self) -> str:
        user, at, host = self.destination.rpartition("@")
        return f"ssh://{user}{at}" + (f"[{host}]" if ":" in host else host) + (f":{self.port}" if self.port else "")

    @property
    def typed(self) -> str:
        """What follows ssh, or ssh-copy-id, on a command line."""
        return f"-p {self.port} {self.destination}" if self.port else self.destination


def parse_address(text: str) -> SshAddress:
    """Reads an address.

    Raises:
        InputError: not of that form.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as exc:
        raise InputError(f"an ssh address is ssh://user@host:port, got {text!r}: {exc}") from exc
    known = re.fullmatch(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)?\[?[A-Za-z0-9_:][A-Za-z0-9_.:%-]*\]?(?::\d+)?", parts.netloc)
    # urlsplit drops an empty query or fragment: "ssh://pi#" holds none of them, and is no address either.
    if parts.scheme != "ssh" or known is None or parts.path not in ("", "/") or set(text) & set("?#") or port == 0:
        raise InputError(f"an ssh address is ssh://user@host:port, got {text!r}")
    # hostname is in lower case but for the zone of an IPv6 address; names of ~/.ssh/config need not be.
    user, _, rest = parts.netloc.rpartition("@")
    start = rest.lower().index((parts.hostname or "").lower())
    host = rest[start : start + len(parts.hostname or "")]
    return SshAddress(f"{user}@{host}" if user else host, port)


class SshTransport:
    """Measures on a device behind ssh.

    Args:
        address: ssh://user@host:port.
        key: of the measuring: names the folder on the device.
        config: another file than ~/.ssh/config; NAS_SSH_CONFIG by default.
    """

    def __init__(self, address: str, key: str, config: Path | None = None) -> None:
        self._to = parse_address(address)
        if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", key) is None:
            raise InputError(f"the key of a measuring is letters, digits, - and _, got {key!r}")
        self.address = str(self._to)
        self._folder = f"{_FOLDER}/{key}"
        self._config = config or os.environ.get("NAS_SSH_CONFIG")
        self._control: Path | None = None
        self._link: Link | None = None
        self._there = False
        self._reached = False

    def connect(self) -> Mapping[str, Any]:
        self._end()
        # A socket's path has at most 104 to 108 bytes: never below a long TMPDIR. The folder is for this user alone.
        self._control = Path(tempfile.mkdtemp(prefix="nas-", dir="/tmp"))
        made = False
        try:
            find = f"umask 077; [ -d {self._folder} ] || echo {shlex.quote(_MADE)}"
            said = self._copy({"runner.pyz": bundle()}, f"{find}; mkdir -p {self._folder}/models && cd {self._folder}", "")
            made = _MADE in said
            answer = self._start()
        except LinkLostError:
            self._end()
            raise
        except BaseException:
            # A folder that was there before may hold answers that nobody has saved yet.
            self._there = made
            self.close()
            raise
        self._there = self._reached = True
        return answer

    def _start(self) -> Mapping[str, Any]:
        """Starts the runner with the first Python that is there."""
        find = 'for p in "$HOME/.hwnas/bin/python" python3; do if command -v "$p" >/dev/null 2>&1; then'
        start = f'exec "$p" {self._folder}/runner.pyz --home {self._folder} --lock {_FOLDER}/lock; fi; done'
        absent = json.dumps({"id": "hello", "ok": False, "kind": "python", "message": "no python3"})
        link = self._link = Link([*self._ssh(), "sh", "-c", shlex.quote(f"{find} {start}; echo {shlex.quote(absent)}")])
        try:
            answer = link.receive("hello", _HELLO_S)
        except LinkLostError as exc:
            if link.status() in (None, 255):
                raise self._unreachable(link.errors()) from exc
            raise TargetError(f"{self.address}: the runner does not start there: {_last(link.errors())}") from exc
        if not answer.get("ok"):
            raise self._refused(answer)
        return answer

    def put(self, path: Path, name: str) -> None:
        part = f"{name}.part"
        self._copy({part: path.read_bytes()}, f"cd {self._folder}/models", f"mv {shlex.quote(part)} {shlex.quote(name)}")

    def ask(self, job: Mapping[str, Any], timeout_s: float) -> Mapping[str, Any]:
        if self._link is None:
            raise LinkLostError(f"{self.address}: not connected")
        try:
            self._link.send(job)
            return self._link.receive(str(job["id"]), timeout_s)
        except LinkLostError as exc:
            raise LinkLostError(f"{self.address}: {_last(str(exc))}") from exc

    def close(self, keep: bool = False) -> None:
        if self._there and not keep and self._control is not None:
            if self._link is not None:
                self._link.close()
                self._link = None
            # The folder above is left: other measurings and the lock are there.
            remove = f"rm -rf {self._folder}; echo {shlex.quote(_DONE)}"
            with suppress(OSError, subprocess.TimeoutExpired):
                self._run([*self._ssh(), "sh", "-c", shlex.quote(remove)], b"", _CONNECT_S * 2.0)
        self._there = False
        self._end()

    def _end(self) -> None:
        """Ends the connection; what is on the device stays."""
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._control is not None:
            with suppress(OSError, subprocess.TimeoutExpired):
                self._run([*self._ssh("-O", "exit")], b"", _CONNECT_S)
            shutil.rmtree(self._control, ignore_errors=True)
            self._control = None

    def _ssh(self, *options: str) -> list[str]:
        settings = {
            "BatchMode": "yes", "ConnectTimeout": str(_CONNECT_S), "ServerAliveInterval": "5", "ServerAliveCountMax": "3",
            "ControlMaster": "auto", "ControlPath": f"{self._control}/c", "ControlPersist": "60", "LogLevel": "ERROR",
        }  # fmt: skip
        config = ["-F", str(self._config)] if self._config else []
        port = ["-p", str(self._to.port)] if self._to.port else []
        given = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        return ["ssh", "-T", *config, *given, *port, *options, "--", self._to.destination]

    def _copy(self, contents: Mapping[str, bytes], before: str, after: str) -> str:
        """Unpacks files in a folder there: `before` goes to it, `after` gives them their names. What the commands said."""
        script = f"{before} && tar xf -{f' && {after}' if after else ''} && echo {shlex.quote(_DONE)}"
        try:
            done = self._run([*self._ssh(), "sh", "-c", shlex.quote(script)], tar(contents), _COPY_S)
        except subprocess.TimeoutExpired:
            raise LinkLostError(f"{self.address}: copying took more than {_COPY_S:.0f} s") from None
        except FileNotFoundError as exc:
            raise TargetError(f"{self.address}: there is no {exc.filename} on this machine: sudo apt install openssh-client") from exc
        said = done.stdout.decode(errors="replace")
        if _DONE in said:
            return said
        errors = done.stderr.decode(errors="replace")
        if done.returncode == 255:
            raise self._unreachable(errors)
        # GNU tar says the latter where part of a block still fitted.
        if re.search(r"no space left|quota exceeded|wrote only", errors, re.IGNORECASE):
            raise TargetError(f"{self.address}: no space left on the device: free some below ~/{_FOLDER} and run the same command again")
        raise TargetError(f"{self.address}: cannot copy files there: {_last(errors, f'exit status {done.returncode}')}")

    def _run(self, argv: Sequence[str], given: bytes, timeout_s: float) -> subprocess.CompletedProcess[bytes]:
        # In a session of its own: Ctrl-C ends this process in order, and not ssh beside it.
        return subprocess.run(  # noqa: S603
            list(argv), input=given, capture_output=True, timeout=timeout_s, check=False, start_new_session=True
        )

    def _unreachable(self, errors: str) -> TargetError:
        """What ssh's own words mean for the user; a link that may come back is a LinkLostError.

        While a board that has answered before boots, its mDNS name does not resolve, and its sshd may not read the keys yet.
        """
        last = _last(errors)
        for pattern, hint, passes in (
            (r"Permission denied", f"it refuses the key: ssh-copy-id {self._to.typed}, or name the key in ~/.ssh/config", True),
            (r"Host key verification failed|host key .*changed", f"its host key is not known: run ssh {self._to.typed} once", False),
            (r"Could not resolve hostname", "there is no host of that name: check the address and ~/.ssh/config", True),
            (r"Bad configuration|no such identity|Bad owner or permissions", "check ~/.ssh/config", False),
        ):
            if re.search(pattern, errors, re.IGNORECASE):
                return (LinkLostError if passes and self._reached else TargetError)(f"{self.address}: {hint} ({last})")
        return LinkLostError(f"{self.address}: cannot be reached: is it on, and does ssh {self._to.typed} work? ({last})")

    def _refused(self, answer: Mapping[str, Any]) -> TargetError:
        kind, message = answer.get("kind"), answer.get("message")
        if kind == "missing":
            return TargetError(f"{self.address} has no {message}: run there: {_INSTALL}")
        if kind == "python":
            return TargetError(f"{self.address}: {message}: install Python 3.9 or newer there: sudo apt install python3-venv; {_INSTALL}")
        wait = ": wait until it is done, or end that process there" if kind == "busy" else ""
        return TargetError(f"{self.address}: {message}{wait}")


def _last(text: str, silent: str = "it said nothing") -> str:
    """The last line that says something, or `silent`."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else silent
