"""A real sshd on loopback, with its own keys, that plays a device: its home folder and its programs are what a test makes them."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

SSHD = shutil.which("sshd") or next((path for path in ("/usr/sbin/sshd", "/usr/local/sbin/sshd") if Path(path).exists()), None)
PRIVILEGE_FOLDER = Path("/run/sshd")
TOOLS = ("sh", "tar", "mkdir", "mv", "rm", "env", "cat", "sleep")


class Sshd:
    """Starts the server; `home` is the device's home folder, `config` an ssh_config under which it is called "board"."""

    def __init__(self, folder: Path) -> None:
        assert SSHD is not None
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(mode=0o700)
        self.tools = folder / "bin"
        self.tools.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found
            (self.tools / tool).symlink_to(found)
        for name in ("host_key", "key", "other_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
        # The device's own login: another home and nothing on the path but its tools.
        environment = f"HOME={self.home} PATH={self.tools}"
        forced = f'cd {self.home} && exec env -i {environment} sh -c \\"$SSH_ORIGINAL_COMMAND\\"'
        public = (folder / "key.pub").read_text().strip()
        (folder / "authorized_keys").write_text(f'command="{forced}" {public}\n')
        self.port = _free_port()
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\n"
            "UsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\nPermitRootLogin yes\n"
        )
        host_key = " ".join((folder / "host_key.pub").read_text().split()[:2])
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host_key}\n")
        self.config = folder / "ssh_config"
        self.config.write_text(
            f"Host board\n  HostName 127.0.0.1\n  Port {self.port}\n  IdentityFile {folder}/key\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {folder}/known_hosts\n"
        )
        self._server: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        assert SSHD is not None
        log = (self.folder / "sshd.log").open("ab")
        with log:
            self._server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")], stdout=log, stderr=log)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        self.stop()
        pytest.skip(f"sshd does not start here: {(self.folder / 'sshd.log').read_text()[-300:]}")

    def stop(self) -> None:
        """Ends the server and every connection; what runs on the device goes on, as it does when a cable is pulled."""
        if self._server is not None:
            self.cut()
            self._server.terminate()
            self._server.wait(10)
            self._server = None

    def cut(self) -> None:
        """Ends every connection."""
        for process in self._children():
            with contextlib.suppress(psutil.Error):
                if process.name().startswith("sshd"):
                    _kill(process)

    def kill_runner(self) -> int:
        """Kills the runners on the device, as a system short of memory does; how many there were."""
        found = [process for process in self._children() if any("runner.pyz" in part for part in _arguments(process))]
        for process in found:
            _kill(process)
        return len(found)

    def _children(self) -> list[psutil.Process]:
        assert self._server is not None
        return psutil.Process(self._server.pid).children(recursive=True)

    def give_python(self, *packages: str, name: str = "python3") -> None:
        """A python3 on the device that has these packages and nothing else: not this one."""
        site = self.folder / "site"
        site.mkdir(exist_ok=True)
        for package in packages:
            spec = importlib.util.find_spec(package)
            assert spec is not None
            assert spec.origin is not None
            installed = Path(spec.origin).parents[1]
            for part in (package, f"{package}.libs"):
                if (installed / part).exists() and not (site / part).exists():
                    (site / part).symlink_to(installed / part)
        path = self.tools / name
        # -S: without the folder of installed packages, so that nas is not found but in the bundle.
        path.write_text(f'#!/bin/sh\nPYTHONPATH={site} exec {sys.executable} -S "$@"\n')
        path.chmod(path.stat().st_mode | stat.S_IEXEC)


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def why_not() -> str:
    """Why no sshd can be started; empty where one can."""
    if SSHD is None:
        return "sshd is not installed (apt-get install openssh-server)"
    if shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        return "ssh is not installed (apt-get install openssh-client)"
    if os.geteuid() == 0:
        PRIVILEGE_FOLDER.mkdir(mode=0o755, exist_ok=True)
    return ""


def running(folder: Path) -> Iterator[Sshd]:
    """A device with python3, numpy and onnxruntime, for a fixture; skips where there can be none."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    server = Sshd(folder)
    try:
        server.give_python("numpy", "onnxruntime")
        yield server
    finally:
        server.stop()
