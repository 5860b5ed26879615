"""nas studies: what is in runs/."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import JsonOption, RunsOption, StudyArgument, command_line, emit, hand_down

__all__ = ["register"]

studies = typer.Typer(help="What is in runs/: list, show, rm, rebuild.\n\nExample: nas studies show", invoke_without_command=True)


@studies.callback()
def _studies(context: typer.Context, runs: RunsOption, as_json: JsonOption = False) -> None:
    if context.invoked_subcommand is None:
        list_(runs, as_json)
    else:
        hand_down(context)


@studies.command("list")
def list_(runs: RunsOption, as_json: JsonOption = False) -> None:
    """Studies, newest first.

    Example: nas studies list --json
    """
    from nas.cli.show import Column, print_table
    from nas.report.record import list_studies
    from nas.report.study import summarise

    found = [summarise(folder) for folder in list_studies(runs)]
    if as_json:
        emit({"schema": 1, "studies": found})
        return
    if not found:
        typer.echo(f"no study in {runs} yet: start one with nas search --device raspberrypi4")
        return
    columns = [
        Column("study"), Column("devices", wraps=True, rank=1), Column("space", rank=3), Column("data", wraps=True, rank=2),
        Column("trials", right=True), Column("front", right=True), Column("state"),
    ]  # fmt: skip
    keys = ("study", "devices", "space", "data", "trials", "front", "state")
    unfinished = [str(each["study"]) for each in found if each["state"] == "unfinished"]
    hint = f"go on with: {command_line('nas search --resume', unfinished[0], runs)}" if unfinished else ""
    rows = [[str(each[key]) if key not in ("space", "data") else Path(str(each[key])).name for key in keys] for each in found]
    print_table(columns, rows, caption=hint, all_of_it="nas studies show")


@studies.command()
def show(runs: RunsOption, study: StudyArgument = None, as_json: JsonOption = False) -> None:
    """Configuration and state of a study.

    Example: nas studies show raspberrypi4-digits-20260101-120000
    """
    from nas.passwords import without_passwords
    from nas.report.record import study_folder
    from nas.report.study import load_config, summarise

    folder = study_folder(runs, study)
    config, fingerprint = load_config(folder)
    summary = summarise(folder)
    stored = {name: without_passwords(value) for name, value in config.model_dump(mode="json").items()}
    if as_json:
        emit({"schema": 1, **summary, "data_fingerprint": fingerprint, "config": stored})
        return
    typed = {"precision": ["fp32", "int8"]} if config.precision == "both" else {}  # as the option takes them
    for name, value in {**stored, **typed, **summary, "data_fingerprint": fingerprint}.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        for part, item in parts:
            shown = ", ".join(map(str, item)) if isinstance(item, list) else item
            if shown not in (None, ""):
                typer.echo(f"{f'{name}.{part}' if part else name:<24} {shown}")


@studies.command()
def rm(
    runs: RunsOption,
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Name of a study.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Deletes a study's folder, and what its --storage holds of it.

    Its MLflow runs stay. A study that is being searched is left alone.

    Example: nas studies rm old-study --yes
    """
    from nas.errors import StudyError
    from nas.passwords import shown_uri
    from nas.report.record import study_folder
    from nas.report.study import is_driven, load_config

    folder = study_folder(runs, study)
    if is_driven(folder):
        raise StudyError(f"study {folder.name} is being searched: stop the search first")
    url = None
    with suppress(StudyError):  # of one whose configuration cannot be read nobody knows more than the folder
        url = load_config(folder)[0].storage
    if not yes:
        shared = f", and what {shown_uri(url)} holds of it" if url else ""
        typer.confirm(f"delete {folder} and everything in it{shared}?", abort=True, err=True)
    stored = _delete_stored(url, folder) if url else []
    try:
        shutil.rmtree(folder)
    except OSError as exc:
        raise StudyError(f"cannot delete {exc.filename}: {exc.strerror}") from exc
    if as_json:
        emit({"schema": 1, "deleted": str(folder), "stored": stored})
    else:
        typer.echo(f"deleted {', '.join((str(folder), *stored))}")


def _delete_stored(url: str, folder: Path) -> list[str]:
    """Deletes what a shared storage holds of a study, so that its name is free there; what that was."""
    from nas.errors import StudyError
    from nas.report.study import devices_of, study_id
    from nas.search.removal import delete_studies
    from nas.search.storage import open_storage

    try:
        storage = open_storage(url)
    except StudyError as exc:
        raise StudyError(f"{exc}; nothing is deleted: where the storage is gone for good, delete {folder} by hand") from exc
    return delete_studies(storage, folder.name, devices_of(folder), study_id(folder))


@studies.command()
def rebuild(runs: RunsOption, study: StudyArgument = None, as_json: JsonOption = False) -> None:
    """Derives files, pictures and MLflow runs from the storage again.

    Example: nas studies rebuild
    """
    from nas.cli.search import report
    from nas.cli.show import Display
    from nas.pipeline import rebuild as derive
    from nas.report.record import study_folder
    from nas.report.study import load_config

    folder = study_folder(runs, study)
    with Display() as display:
        result = derive(load_config(folder)[0], runs, display)
    report(result, runs, as_json)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(studies, name="studies")
