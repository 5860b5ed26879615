"""nas ui, nas sync: a study in MLflow."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import JsonOption, RunsOption, StudyArgument, command_line, emit

__all__ = ["register"]


def ui(
    runs: RunsOption,
    study: StudyArgument = None,
    port: Annotated[int, typer.Option(metavar="N", help="0 picks a free one.", min=0, max=65535)] = 5000,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the address only; no browser is opened.")] = False,
) -> None:
    """Starts the MLflow UI, opened at the study's Pareto view.

    It shows the local store and prints the view's address. Ctrl-C stops it.

    Example: nas ui --port 0
    """
    from nas.report.record import study_folder
    from nas.report.study import load_config, study_id
    from nas.report.tracking import Connection, find_view
    from nas.report.ui import serve_ui

    folder = study_folder(runs, study)
    config, _ = load_config(folder)
    if config.tracking_uri:
        connection = Connection(runs, config.tracking_uri)
        view = find_view(connection, folder.name, study_id(folder))
        if connection.is_server:
            _show(connection.shown.rstrip("/") + view, no_open)
        else:
            typer.echo(f"study {folder.name} is in a store of its own: mlflow ui --backend-store-uri {connection.shown}")
            typer.echo(f"then  http://127.0.0.1:5000{view}")
        return
    typer.echo("starting the MLflow UI ...", err=True)

    def ready(address: str) -> None:
        _show(address, no_open)
        typer.echo("Ctrl-C stops it", err=True)

    serve_ui(folder, port, ready)


def _show(address: str, no_open: bool) -> None:
    """Prints an address, and opens it where a person sits before a desktop."""
    typer.echo(address, color=None)
    has_desktop = sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if not no_open and has_desktop and sys.stdout.isatty():
        webbrowser.open(address)


def sync(
    runs: RunsOption,
    study: StudyArgument = None,
    tracking_uri: Annotated[
        str | None, typer.Option(metavar="URI", help="MLflow store or server.", show_default="the one that the study was searched with")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Sends to MLflow what it lacks of a study.

    After a search whose tracking server was down, slow or refused it; it may be called again at any time. A study whose search was
    killed is marked as failed there.

    Example: nas sync --tracking-uri http://mlflow.example:5000
    """
    from nas.report.record import study_folder
    from nas.report.tracking import sync as send

    folder = study_folder(runs, study)
    done = send(folder, tracking_uri)
    view = done.connection.shown.rstrip("/") + done.view_path if done.connection.is_server else done.view_path
    if as_json:
        sent = {"runs": done.sent.runs, "files": done.sent.files, "models": done.sent.models}
        emit({"schema": 1, "study": folder.name, "store": done.connection.shown, "sent": sent, "view": view})
        return
    typer.echo(f"sent      {done.sent.words()}")
    for name in done.renamed:
        typer.echo(f"models    {name}  (another search of this name has the plain one)")
    typer.echo(f"MLflow    {view if done.connection.is_server else command_line('nas ui', folder.name, Path(runs))}")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(ui)
    app.command()(sync)
