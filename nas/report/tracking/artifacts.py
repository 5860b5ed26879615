"""Files of a run: sent where the store has none, or another one, of that name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from nas.files import digest_of
from nas.report.tracking.connection import Connection

__all__ = ["finished_files", "send_files"]

TAG = "files"
"""Of a run: what was sent, path to the beginning of its SHA-256."""


def finished_files(folder: Path, pattern: str) -> list[Path]:
    """Files in a study's folder that match a pattern; none that is being written, or whose folder is (`nas.files.write_atomic`)."""
    found = (path for path in folder.glob(pattern) if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    return sorted(path for path in found if path.is_file())


def send_files(connection: Connection, run_id: str, wanted: Mapping[str, Path | str]) -> int:
    """Sends files, or texts as files, that the run lacks or has in another version.

    Args:
        wanted: path in the run to the file, or to the text, that belongs there.

    Returns: how many were sent.
    """
    folders = dict.fromkeys(str(PurePosixPath(path).parent) for path in wanted)
    with connection.client() as client:
        known: dict[str, str] = json.loads(client.get_run(run_id).data.tags.get(TAG, "{}"))
        there = {found.path for folder in folders for found in client.list_artifacts(run_id, None if folder == "." else folder)}
    digests = {path: digest_of(content)[:12] for path, content in wanted.items()}
    missing = [path for path, digest in digests.items() if path not in there or known.get(path) != digest]
    for path in missing:
        content, folder = wanted[path], str(PurePosixPath(path).parent)
        with connection.client() as client:  # one each: every file that arrives is an answer
            if isinstance(content, Path):
                client.log_artifact(run_id, str(content), None if folder == "." else folder)
            else:
                client.log_text(run_id, content, path)
    if missing:
        with connection.client() as client:
            client.set_tag(run_id, TAG, json.dumps({**known, **digests}))
    return len(missing)
