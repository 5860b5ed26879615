"""Options that several commands share."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DeviceOption", "JsonOption", "PrecisionOption", "RunsOption", "RuntimeOption", "StudyArgument", "ThreadsOption", "emit"]


def _runs() -> Path:
    return Path(os.environ.get("NAS_RUNS", "runs"))


RunsOption = Annotated[
    Path, typer.Option("--runs", help="Folder of all studies (or NAS_RUNS).", default_factory=_runs, show_default="runs")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
StudyArgument = Annotated[str | None, typer.Argument(help="Name of a study; the newest one if left out.", show_default=False)]
DeviceOption = Annotated[str, typer.Option("--device", "-d", help="Name, alias or profile folder of a device.", show_default=False)]
RuntimeOption = Annotated[str | None, typer.Option("--runtime", help="Inference runtime; the profile's default.", show_default=False)]
PrecisionOption = Annotated[str | None, typer.Option("--precision", help="Precision; the profile's default.", show_default=False)]
ThreadsOption = Annotated[int | None, typer.Option("--threads", help="Threads; the profile's default.", show_default=False, min=1)]


def emit(data: object) -> None:
    """Prints JSON to standard output."""
    typer.echo(json.dumps(data, indent=1, allow_nan=False))
