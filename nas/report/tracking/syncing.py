"""A study sent once, from its folder: for `nas sync`, and for `nas ui` before it shows anything."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from nas.files import locked
from nas.report.study import LOCK, load_config
from nas.report.tracking.connection import Connection, TrackingError, check_uri
from nas.report.tracking.mirror import Sent, StudyMirror

__all__ = ["Synced", "sync"]

TRIES = 3
PAUSE_S = 1.0
"""Before the second try; doubled before the next."""


@dataclass(frozen=True, slots=True)
class Synced:
    """What was sent, where to, and the path of the study's view behind a server's address; models that had to be named otherwise."""

    sent: Sent
    connection: Connection
    view_path: str
    renamed: tuple[str, ...] = ()


def sync(folder: Path, uri: str | None = None) -> Synced:
    """Sends what a study's folder holds and the store lacks. A study whose driver was killed is marked as failed.

    Args:
        folder: of the study.
        uri: of the store or server; None for the study's own.

    Raises:
        StudyError: the folder does not hold together, or was renamed.
        InputError: the URI is malformed, or the study is being searched: it sends itself.
        TrackingError: the store failed three times; what was sent stays.
    """
    config, _ = load_config(folder)
    uri = uri or config.tracking_uri
    connection = Connection(folder.parent, uri and check_uri(uri))
    mirror = StudyMirror(folder, connection)
    with locked(folder / LOCK, f"study {config.study} is being searched by another process, which sends as it goes: wait until it ends"):
        for number in range(TRIES):
            try:
                return Synced(mirror.send(is_driven=False), connection, mirror.view_path, mirror.renamed)
            except TrackingError as exc:
                if exc.refused or number == TRIES - 1:
                    raise
                time.sleep(PAUSE_S * 2**number)
    raise AssertionError("unreachable")
