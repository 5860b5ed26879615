"""Options that several commands share."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "DeviceOption",
    "JsonOption",
    "PrecisionOption",
    "RunsOption",
    "RuntimeOption",
    "StudyArgument",
    "ThreadsOption",
    "ViaOption",
    "command_line",
    "emit",
    "hand_down",
]

RUNS = "runs"


def _runs() -> Path:
    return Path(os.environ.get("NAS_RUNS") or RUNS)


RunsOption = Annotated[
    Path,
    typer.Option("--runs", metavar="FOLDER", help="Folder of all studies (or NAS_RUNS).", default_factory=_runs, show_default=RUNS),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
StudyArgument = Annotated[
    str | None, typer.Argument(metavar="STUDY", help="Name of a study; the newest one if left out.", show_default=False)
]
DeviceOption = Annotated[
    str, typer.Option("--device", "-d", metavar="DEVICE", help="Name, alias or profile folder of a device.", show_default=False)
]
RuntimeOption = Annotated[
    str | None, typer.Option("--runtime", metavar="NAME", help="Inference runtime; the profile's default.", show_default=False)
]
PrecisionOption = Annotated[
    str | None, typer.Option("--precision", metavar="NAME", help="Precision; the profile's default.", show_default=False)
]
ThreadsOption = Annotated[int | None, typer.Option("--threads", metavar="N", help="Threads; the profile's default.", show_default=False)]
ViaOption = Annotated[
    str | None,
    typer.Option(
        "--via", metavar="ADDRESS", help="local, or ssh://user@host:port (a name of ~/.ssh/config works).", show_default="local for host"
    ),
]


def hand_down(context: typer.Context) -> None:
    """Makes options that stand before a subcommand hold for it, where it is not given them itself: `nas studies --runs OLD rm photos`."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name: context.params[name] for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    context.default_map = {str(context.invoked_subcommand): given}


def emit(data: object) -> None:
    """Prints JSON to standard output."""
    typer.echo(json.dumps(data, indent=1, allow_nan=False))


def command_line(command: str, study: str, runs: Path) -> str:
    """What to type for a study, e.g. "nas ui photos --runs 'my runs'"."""
    return shlex.join([*command.split(), study, *([] if runs == _runs() else ["--runs", str(runs)])])
