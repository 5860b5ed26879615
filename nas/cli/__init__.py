"""The command line: runs a command and turns whatever comes out into a message and an exit code.

Imports of heavy libraries stand inside the commands: `nas --help` is quick and the base install suffices for it.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence

from nas.errors import InputError, MissingExtraError, NasError

__all__ = ["main"]

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})
"""Of a write, to a file or to where the output goes."""


def main(argv: Sequence[str] | None = None) -> None:
    """Runs a command and exits: 0 done, 2 bad input, 3 nothing feasible, 4 target unreachable, 5 internal, 130 interrupted."""
    # Threads that spin at a barrier lose it all when another process wants a core: 3 epochs took 12 s instead of 144 on two shared cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments  # it may stand anywhere
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no ★ shows ?
    try:
        from nas.cli.app import run

        sys.exit(run([a for a in arguments if a != "--debug"]))
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(130)
    except Exception as exc:
        code, message = _told(exc)
        if debug:
            traceback.print_exc()
        else:
            _say(message)
        sys.exit(code)


def _told(error: Exception) -> tuple[int, str]:
    """Exit code and message."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "nas").split(".")[0] != "nas":
        error = MissingExtraError(str(error.name), "search")
    if isinstance(error, NasError):
        return error.exit_code, str(error)
    if isinstance(error, OSError) and error.filename is None and error.errno in NO_ROOM:
        return InputError.exit_code, f"cannot write what it has to say or keep: {error.strerror}: free some space"
    return 5, f"internal error: {type(error).__name__}: {error}\nrun it again with --debug and report what it prints"


def _say(message: str) -> None:
    print(f"nas: {message}", file=sys.stderr)  # noqa: T201
