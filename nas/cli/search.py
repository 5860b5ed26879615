"""nas search, nas studies."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import JsonOption, PrecisionOption, RunsOption, RuntimeOption, StudyArgument, ThreadsOption, emit
from nas.cli.quantities import parse
from nas.errors import InputError

if TYPE_CHECKING:
    from nas.config import SearchConfig
    from nas.pipeline import Result

__all__ = ["BOUNDS", "register", "stopping"]

BOUNDS = {
    "--max-latency": ("latency_s", "latency", "max"),
    "--max-energy": ("energy_j", "energy", "max"),
    "--max-params": ("params", "count", "max"),
    "--max-size": ("size_bytes", "bytes", "max"),
    "--max-memory": ("peak_memory_bytes", "bytes", "max"),
    "--min-accuracy": ("accuracy_search", "share", "min"),
}


def _bound(text: str) -> Any:
    return typer.Option(help=text, show_default=False)


def search(
    runs: RunsOption,
    device: Annotated[
        list[str] | None, typer.Option("--device", "-d", help="Chip to search for; repeat it for more.", show_default=False)
    ] = None,
    space: Annotated[str | None, typer.Option(help="Search space: name or YAML file; one that fits the data.", show_default=False)] = None,
    data: Annotated[str, typer.Option(help="digits, or a folder or .zip with train/<class>/*.jpg and test/<class>/*.jpg.")] = "digits",
    study: Annotated[str | None, typer.Option(help="Name of the study.", show_default="device-data-time")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a study: the one named by --study or after it, else the newest.")
    ] = False,
    resumed: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="With --resume: the study to go on with.", show_default=False)
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Architectures to evaluate.", show_default="100", min=1)] = None,
    time_budget: Annotated[str | None, typer.Option(help="Wall-clock for everything, e.g. 20m or 2h.", show_default=False)] = None,
    objective: Annotated[
        list[str] | None, typer.Option(help="accuracy, latency, energy, macs, params, size, memory.", show_default="accuracy latency")
    ] = None,
    max_latency: Annotated[str | None, _bound("e.g. 25ms")] = None,
    max_energy: Annotated[str | None, _bound("e.g. 40mJ")] = None,
    max_params: Annotated[str | None, _bound("e.g. 3M")] = None,
    max_size: Annotated[str | None, _bound("e.g. 4MiB")] = None,
    max_memory: Annotated[str | None, _bound("e.g. 64MiB")] = None,
    min_accuracy: Annotated[str | None, _bound("e.g. 0.9 or 90%")] = None,
    runtime: RuntimeOption = None,
    precision: PrecisionOption = None,
    threads: ThreadsOption = None,
    evaluator: Annotated[str, typer.Option(help="How accuracy is found.")] = "supernet",
    sampler: Annotated[str, typer.Option(help="How architectures are proposed: nsga2, random.")] = "nsga2",
    finalists: Annotated[int, typer.Option(help="Members of the front to fine-tune, test and export.", min=1)] = 5,
    epochs: Annotated[int | None, typer.Option(help="Epochs of the supernet.", show_default="by data", min=1)] = None,
    workers: Annotated[int, typer.Option(help="Processes that evaluate; 1 is repeatable.", min=1)] = 1,
    storage: Annotated[str | None, typer.Option(help="URL of the study's storage.", show_default="SQLite in the study's folder")] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow store or server.", show_default="SQLite in runs/mlflow")] = None,
    seed: Annotated[int, typer.Option(help="Decides split, weights and proposals.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """From a chip's name to a Pareto front of exported models.

    Example: nas search --device raspberrypi4 --data photos.zip --max-latency 25ms --time-budget 1h
    """
    from nas.cli.show import Display

    given = {
        "--max-latency": max_latency, "--max-energy": max_energy, "--max-params": max_params, "--max-size": max_size,
        "--max-memory": max_memory, "--min-accuracy": min_accuracy,
    }  # fmt: skip
    budget_s = parse(time_budget, "duration", "--time-budget") if time_budget else None
    if resume:
        fixed = {"--device": device, "--space": space, "--objective": objective, "--epochs": epochs, **given}
        refused = [name for name, value in fixed.items() if value]
        if refused:
            raise InputError(
                f"--resume goes on with the stored configuration: leave out {', '.join(refused)} (--trials and --time-budget may grow)"
            )
        config = _resumed(runs, resumed or study, trials, budget_s)
    else:
        if resumed is not None:
            raise InputError(f"what is {resumed!r}? A study to go on with is named after --resume, a new one by --study")
        if not device:
            raise InputError("--device is needed, e.g. nas search --device raspberrypi4; nas devices lists them")
        values = {
            "study": study or _new_name(device[0], data), "devices": tuple(device), "space": space, "data": data, "trials": trials or 100,
            "time_budget_s": budget_s, "objectives": tuple(objective) if objective else ("accuracy", "latency"),
            "constraints": _constraints(given), "runtime": runtime, "precision": precision or "fp32", "threads": threads,
            "evaluator": evaluator, "sampler": sampler, "finalists": finalists, "workers": workers, "seed": seed, "storage": storage,
            "tracking_uri": tracking_uri,
        }  # fmt: skip
        config = _new(values, epochs)
    with Display() as display, stopping() as stop:
        from nas.pipeline import run

        result = run(config, runs, display, stop.is_set, resume=resume)
    _report(result, runs, as_json)


def _constraints(given: dict[str, str | None]) -> tuple[Any, ...]:
    from nas.metrics import Constraint

    found = []
    for option, text in given.items():
        if text is not None:
            metric, kind, side = BOUNDS[option]
            found.append(Constraint(metric, parse(text, kind, option), "min" if side == "min" else "max"))
    return tuple(found)


def _new(values: dict[str, Any], epochs: int | None) -> SearchConfig:
    from nas import plugins
    from nas.config import check_config, default_recipe, default_space
    from nas.errors import UnknownNameError

    for option in ("evaluator", "sampler"):
        known = plugins.names(f"{option}s")
        if values[option] not in known:
            raise UnknownNameError(option, values[option], known)
    recipe = default_recipe(values["data"])
    if epochs is not None:
        recipe = recipe.model_copy(update={"epochs": epochs})
    return check_config({**values, "space": values["space"] or default_space(values["data"]), "recipe": recipe})


def _resumed(runs: Path, name: str | None, trials: int | None, budget_s: float | None) -> SearchConfig:
    from nas.report.record import study_folder
    from nas.report.study import load_config

    config, _ = load_config(study_folder(runs, name))
    if trials is not None and trials < config.trials:
        raise InputError(f"--trials may only grow on --resume: the study has {config.trials}, got {trials}")
    changes = {"trials": trials or config.trials, "time_budget_s": budget_s or config.time_budget_s}
    return config.model_copy(update=changes)


def _new_name(device: str, data: str) -> str:
    parts = [Path(device).name, Path(data).stem, dt.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(parts)).strip("-.")


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Ctrl-C or SIGTERM once: stop at the next safe point. Twice: at once."""
    stop = threading.Event()

    def ask(signum: int, frame: object) -> None:  # noqa: ARG001
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        typer.echo("\nstopping at the next safe point, everything done is saved (again: at once)", err=True)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(result: Result, runs: Path, as_json: bool) -> None:
    from nas.cli.show import front_table, print_table, seconds_text

    if as_json:
        emit({
            "schema": 1, "study": result.folder.name, "folder": str(result.folder), "seconds": result.seconds,
            "view": result.view_path, "fronts": [front.to_dict() for front in result.fronts],
        })  # fmt: skip
        return
    for front in result.fronts:
        print_table(front_table(front))
        for each in front.finalists:
            for kind, path in each.artifacts.items():
                if kind == "onnx":
                    typer.echo(f"exported  {result.folder / path}")
    option = "" if runs == Path("runs") else f" --runs {runs}"
    typer.echo(f"pictures  {result.folder / 'front.html'}  {result.folder / 'front.png'}")
    if result.view_path:
        typer.echo(f"MLflow    nas ui {result.folder.name}{option}  then  http://127.0.0.1:5000{result.view_path}")
    typer.echo(f"took      {seconds_text(result.seconds)}")


studies = typer.Typer(help="What is in runs/: list, show, rm, rebuild.\n\nExample: nas studies show", invoke_without_command=True)


@studies.callback()
def _studies(context: typer.Context, runs: RunsOption, as_json: JsonOption = False) -> None:
    if context.invoked_subcommand is None:
        list_(runs, as_json)


@studies.command("list")
def list_(runs: RunsOption, as_json: JsonOption = False) -> None:
    """Studies, newest first.

    Example: nas studies list --json
    """
    from rich.table import Table

    from nas.cli.show import print_table
    from nas.report.record import list_studies
    from nas.report.study import summarise

    found = [summarise(folder) for folder in list_studies(runs)]
    if as_json:
        emit({"schema": 1, "studies": found})
        return
    if not found:
        typer.echo(f"no study in {runs} yet: start one with nas search --device raspberrypi4")
        return
    table = Table()
    for column in ("study", "devices", "space", "data", "trials", "front", "state"):
        table.add_column(column)
    for each in found:
        table.add_row(*(str(each[column]) for column in ("study", "devices", "space", "data", "trials", "front", "state")))
    print_table(table)


@studies.command()
def show(runs: RunsOption, study: StudyArgument = None, as_json: JsonOption = False) -> None:
    """Configuration and state of a study.

    Example: nas studies show raspberrypi4-digits-20260101-120000
    """
    from nas.report.record import study_folder
    from nas.report.study import load_config, summarise

    folder = study_folder(runs, study)
    config, fingerprint = load_config(folder)
    facts = {**summarise(folder), "data_fingerprint": fingerprint, "config": config.model_dump(mode="json")}
    if as_json:
        emit({"schema": 1, **facts})
        return
    for key, value in facts.items():
        for name, shown in value.items() if isinstance(value, dict) else [(key, value)]:
            typer.echo(f"{name:<18} {shown}")


@studies.command()
def rm(
    runs: RunsOption,
    study: Annotated[str, typer.Argument(help="Name of a study.")],
    yes: Annotated[bool, typer.Option("--yes", "-y")] = False,
) -> None:
    """Deletes a study's folder; its MLflow runs stay.

    Example: nas studies rm old-study --yes
    """
    from nas.report.record import study_folder

    folder = study_folder(runs, study)
    if not yes:
        typer.confirm(f"delete {folder} and everything in it?", abort=True)
    shutil.rmtree(folder)
    typer.echo(f"deleted {folder}")


@studies.command()
def rebuild(runs: RunsOption, study: StudyArgument = None) -> None:
    """Derives files, pictures and MLflow runs of a study from its storage again.

    Example: nas studies rebuild
    """
    from nas.cli.show import Display
    from nas.pipeline import rebuild as derive
    from nas.report.record import study_folder
    from nas.report.study import load_config

    folder = study_folder(runs, study)
    with Display() as display:
        result = derive(load_config(folder)[0], runs, display)
    _report(result, runs, as_json=False)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(search)
    app.add_typer(studies, name="studies")
