"""nas front, nas pick, nas export: what came out of a study."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nas.cli.options import JsonOption, RunsOption, StudyArgument, command_line, emit
from nas.errors import InputError
from nas.report.front import FrontRecord

if TYPE_CHECKING:
    from nas.report.tracking import Fetched

__all__ = ["DeviceChoice", "register"]

ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="STUDY", help="Name of a study; the newest one if left out. Or models:/NAME@ALIAS of MLflow.", show_default=False
    ),
]
DeviceChoice = Annotated[
    str | None, typer.Option("--device", "-d", metavar="DEVICE", help="One of the study's devices; its first.", show_default=False)
]


def front(
    runs: RunsOption,
    study: StudyArgument = None,
    device: DeviceChoice = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, at most 1,000 beyond the front; candidates.parquet has all.")] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a picture: .html or .png.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """The Pareto front of a study.

    A picture that ends in .html is interactive and has the fronts of all devices, unless one is named.

    Example: nas front --plot front.html
    """
    from nas.cli.show import print_front
    from nas.report.record import front_csv, read_front, study_folder

    if csv and as_json:
        raise InputError("choose one of --csv and --json")
    folder = study_folder(runs, study)
    record = read_front(folder, device)
    if plot is not None:
        _plot(plot, folder, record, alone=device is not None)
    if as_json:
        emit(record.to_dict())
    elif csv:
        typer.echo(front_csv(record), nl=False)
        if record.held:
            typer.echo(f"note: this is {record.held}; all are in {folder / 'candidates.parquet'}", err=True)
    else:
        print_front(record)
        if plot is not None:
            typer.echo(f"picture   {plot}")


def _plot(path: Path, folder: Path, record: FrontRecord, *, alone: bool) -> None:
    """Writes a picture of a front; a page has all fronts of the study, unless it is to be `alone`."""
    from nas.files import write_atomic

    if path.suffix == ".html":
        from nas.report.front_page import front_html
        from nas.report.record import read_fronts

        write_atomic(path, front_html([record] if alone else read_fronts(folder)))
    elif path.suffix == ".png":
        from nas.report.figures import front_png

        write_atomic(path, front_png(record))
    else:
        raise InputError(f"--plot takes a file that ends in .html or .png, got {path}")


MaxLatency = Annotated[str | None, typer.Option(metavar="LATENCY", help="e.g. 20ms", show_default=False)]
MaxEnergy = Annotated[str | None, typer.Option(metavar="ENERGY", help="e.g. 40mJ", show_default=False)]
MaxParams = Annotated[str | None, typer.Option(metavar="COUNT", help="e.g. 3M", show_default=False)]
MaxSize = Annotated[str | None, typer.Option(metavar="BYTES", help="e.g. 4MiB", show_default=False)]
MaxMemory = Annotated[str | None, typer.Option(metavar="BYTES", help="At its peak, e.g. 64MiB", show_default=False)]
MinAccuracy = Annotated[str | None, typer.Option(metavar="SHARE", help="e.g. 0.9 or 90%", show_default=False)]
Knee = Annotated[bool, typer.Option("--knee", help="The knee.")]
Fastest = Annotated[bool, typer.Option("--fastest", help="The fastest.")]
MostAccurate = Annotated[bool, typer.Option("--most-accurate", help="The most accurate (the default).")]


def pick(
    runs: RunsOption,
    study: ModelArgument = None,
    device: DeviceChoice = None,
    candidate: Annotated[str | None, typer.Option("--pick", "--id", metavar="ID", help="Id, or its beginning.", show_default=False)] = None,
    max_latency: MaxLatency = None,
    max_energy: MaxEnergy = None,
    max_params: MaxParams = None,
    max_size: MaxSize = None,
    max_memory: MaxMemory = None,
    min_accuracy: MinAccuracy = None,
    knee: Knee = False,
    fastest: Fastest = False,
    most_accurate: MostAccurate = False,
    as_json: JsonOption = False,
) -> None:
    """One member of the front, or pruned finalist, in full.

    The most accurate one, where no other is asked for: by search accuracy, and by validation accuracy among trained networks where
    pruned ones are among them.

    Example: nas pick --max-latency 20ms
    """
    from nas.cli.picking import choose, role_of
    from nas.cli.show import candidate_lines
    from nas.report.record import read_front, study_folder
    from nas.report.tracking import is_model_uri

    bounds = {
        "--max-latency": max_latency, "--max-energy": max_energy, "--max-params": max_params, "--max-size": max_size,
        "--max-memory": max_memory, "--min-accuracy": min_accuracy,
    }  # fmt: skip
    if study is not None and is_model_uri(study):
        _refuse_choice(study, device, candidate, bounds, knee or fastest or most_accurate)
        with _registered(runs, study) as fetched:
            name, chip, chosen, how = fetched.study, fetched.device, fetched.candidate, ""
    else:
        record = read_front(study_folder(runs, study), device)
        chosen, how = choose(record, candidate, bounds, role_of(candidate, knee=knee, fastest=fastest, most_accurate=most_accurate))
        name, chip = record.study, record.device
    if as_json:
        emit({"schema": 1, "study": name, "device": chip, "candidate": chosen.to_dict()})
        return
    for line in candidate_lines(chosen):
        typer.echo(line)
    if how:
        typer.echo(how)
    if not chosen.artifacts:
        typer.echo(f"not exported yet: {command_line('nas export', name, runs)} --device {chip} --pick {chosen.id}")


def export(
    runs: RunsOption,
    study: ModelArgument = None,
    device: DeviceChoice = None,
    candidate: Annotated[str | None, typer.Option("--pick", "--id", metavar="ID", help="Id, or its beginning.", show_default=False)] = None,
    max_latency: MaxLatency = None,
    knee: Knee = False,
    fastest: Fastest = False,
    most_accurate: MostAccurate = False,
    form: Annotated[Literal["onnx", "openvino"], typer.Option("--format", help="Of the model.")] = "onnx",
    precision: Annotated[
        Literal["fp32", "int8"] | None, typer.Option("--precision", help="Of the model.", show_default="the candidate's")
    ] = None,
    out: Annotated[str | None, typer.Option(metavar="FOLDER", help="Where to.", show_default="exports/<study>-<id>")] = None,
    as_json: JsonOption = False,
) -> None:
    """Deployable files of a candidate, and its card.

    A candidate that is no finalist is fine-tuned, tested and checked first. The folder gets all files or none.

    Example: nas export --knee --format openvino --precision int8
    """
    from nas.cli.picking import choose, contradicted, judged_otherwise, role_of
    from nas.cli.search import stopping
    from nas.cli.show import Display
    from nas.report.record import read_front, study_folder
    from nas.report.tracking import is_model_uri

    if out is not None and not out.strip():  # as a path it would be the current folder
        raise InputError(f"--out is a folder, got {out!r}: name one, or leave it out for exports/<study>-<id>")
    place = None if out is None else Path(out)
    if study is not None and is_model_uri(study):
        _refuse_choice(study, device, candidate, {"--max-latency": max_latency}, knee or fastest or most_accurate)
        if precision is not None:
            raise InputError(f"{study} is one file in one precision: leave --precision out, or name the study and --pick")
        _export_registered(runs, study, form, place, as_json)
        return
    folder = study_folder(runs, study)
    record = read_front(folder, device)
    role = role_of(candidate, knee=knee, fastest=fastest, most_accurate=most_accurate)
    chosen, _ = choose(record, candidate, {"--max-latency": max_latency}, role, precision)
    wanted: Literal["fp32", "int8"] = precision or ("int8" if chosen.candidate.target.precision == "int8" else "fp32")
    if max_latency is not None and (told := judged_otherwise(chosen, form, wanted)):
        typer.echo(f"warning: {told}", err=True)
    with Display() as display, stopping() as stop:
        from nas.exporting import export as write

        written = write(folder, chosen, form, wanted, place or Path("exports") / f"{record.study}-{chosen.id}", display, stop.is_set)
    if as_json:
        emit(
            {
                "schema": 1,
                "study": record.study,
                "id": chosen.id,
                "format": form,
                "precision": wanted,
                "files": [str(path) for path in written],
            }
        )
        return
    for path in written:
        typer.echo(f"wrote {path}")
    if told := contradicted(chosen, form, wanted):
        typer.echo(f"warning: {told}", err=True)


def _refuse_choice(
    uri: str, device: str | None, candidate: str | None, bounds: dict[str, str | None], is_named: bool
) -> None:  # fmt: skip
    """A registered model is one candidate: there is nothing to choose."""
    given = [option for option, text in {"--device": device, "--pick": candidate, **bounds}.items() if text is not None]
    given += ["--knee, --fastest and --most-accurate"] if is_named else []
    if given:
        raise InputError(f"{uri} names one model: leave out {', '.join(given)}")


@contextmanager
def _registered(runs: Path, uri: str) -> Iterator[Fetched]:
    """A registered model with its files in a folder that lasts as long as the context.

    It is looked for where the study that it is named after is tracked, else where MLFLOW_TRACKING_URI says, else in the local store.
    """
    from nas.errors import StudyError
    from nas.report.record import list_studies
    from nas.report.study import load_config, study_id
    from nas.report.tracking import Connection, check_uri, fetch
    from nas.report.view import view_keys

    where = os.environ.get("MLFLOW_TRACKING_URI") or None
    name = re.split("[@/]", uri.removeprefix("models:/"), maxsplit=1)[0]
    for folder in list_studies(runs):
        with suppress(StudyError):
            config, _ = load_config(folder)
            devices = [path.stem for path in folder.glob("fronts/*.json")]
            if any(name in view_keys(config.study, study_id(folder), device) for device in devices):
                where = config.tracking_uri
                break
    with tempfile.TemporaryDirectory() as home:
        yield fetch(Connection(runs, where and check_uri(where)), uri, Path(home))


def _export_registered(runs: Path, uri: str, form: str, out: Path | None, as_json: bool) -> None:
    from nas.report.tracking import write_fetched
    from nas.search.shipped import refuse_study

    with _registered(runs, uri) as fetched:
        name = fetched.candidate.id
        if form != "onnx":
            raise InputError(
                f"--format {form} is checked on the study's images: {command_line('nas export', fetched.study, runs)} "
                f"--device {fetched.device} --pick {name} --format {form}"
            )
        place = out or Path("exports") / f"{fetched.study}-{name}"
        refuse_study(place, runs)
        written = write_fetched(fetched, place)
    if as_json:
        emit({"schema": 1, "study": fetched.study, "id": name, "format": form, "files": [str(path) for path in written]})
        return
    for path in written:
        typer.echo(f"wrote {path}")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (front, pick, export):
        app.command()(command)
