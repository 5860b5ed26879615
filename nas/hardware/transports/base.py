"""The contract of a transport."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Transport"]


class Transport(Protocol):
    """Reaches a device and the runner on it. Registered as an entry point of the group `nas.transports` under the scheme of its
    address ("ssh" for ssh://user@host); `nas.testing.TransportContract` tests it. The registered class takes the address and a key that
    names the measuring: after a crash the same key finds what is still on the device.

    Attributes:
        address: for people.
    """

    address: str

    def connect(self) -> Mapping[str, Any]:
        """Starts the runner, or starts it again, and gives its first line (see `nas.hardware.jobs.hello`).

        Raises:
            LinkLostError: not reachable now: it may work later.
            TargetError: it will not work until something is put right; says what.
        """
        ...

    def put(self, path: Path, name: str) -> None:
        """Copies a model file to the runner's models/<name>, whole or not at all; a file that is there already may be left.

        Raises:
            LinkLostError: the connection broke.
            TargetError: the device has no space left, or refuses it.
        """
        ...

    def ask(self, job: Mapping[str, Any], timeout_s: float) -> Mapping[str, Any]:
        """Sends a job and gives its answer.

        Raises:
            LinkLostError: the connection broke, the runner ended, or no answer came in time.
        """
        ...

    def close(self, keep: bool = False) -> None:
        """Ends the runner and removes what was put on the device. Never raises; may be called twice.

        Args:
            keep: leave models and answers there for the next measuring of this key.
        """
        ...
