"""A PostgreSQL server of one's own for tests and chaos: Debian's programs, a temporary folder, a port on loopback."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nas.errors import InputError

__all__ = ["Postgres", "postgres"]

PASSWORD = "not-a-secret"  # noqa: S105
PORTS = range(20_000, 32_000)
"""Below those that Linux gives connections (ip_local_port_range)."""


class Postgres:
    """A server that can be stopped and started; durability is not what is tested, so it syncs nothing.

    Args:
        programs: folder of initdb and pg_ctl.
        folder: for its data; when root, it is given to the user postgres, as whom the server runs.

    Raises:
        InputError: a program of PostgreSQL failed.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        self.port = _free_port()
        # The server refuses to be root.
        self._as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        if os.getuid() == 0:
            shutil.chown(folder, pwd.getpwnam("postgres").pw_uid)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run("initdb", "-D", str(folder / "data"), "-U", "me", "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync")

    def url(self, password: str = PASSWORD, database: str = "postgres") -> str:
        """Where it answers."""
        return f"postgresql://me:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Returns when it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-l", str(self._folder / "log"), "-w", "-o", options, "start")

    def stop(self) -> None:
        """At once, as in a crash."""
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "-w", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(self._programs / program), *arguments]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", timeout=60, check=False)  # noqa: S603
        if done.returncode:
            raise InputError(f"PostgreSQL's {program} ended with code {done.returncode}: {' '.join(command)}: {self._last_words()}")

    def _last_words(self) -> str:
        log = self._folder / "log"
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
        return lines[-1] if lines else "it says why"


def _free_port() -> int:
    """One that no connection is given meanwhile: the server that comes back wants the port that it had."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as free, suppress(OSError):
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            free.bind(("127.0.0.1", port))
            return port
    raise InputError(f"no port between {PORTS[0]} and {PORTS[-1]} is free on 127.0.0.1: of 100 that were tried all are taken")


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """A running server.

    Raises:
        InputError: PostgreSQL is not installed, or does not start.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise InputError("PostgreSQL is not installed: apt install postgresql")
    for above in (folder, *folder.parents):
        mode = above.stat().st_mode
        if os.getuid() == 0 and above.stat().st_uid == 0 and not mode & 0o001:
            above.chmod(mode | 0o011)  # the server's user must reach its folder
    server = Postgres(found[-1].parent, folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
