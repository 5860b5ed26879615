"""nas front, nas pick, nas export: what came out of a study."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nas.cli.options import JsonOption, RunsOption, StudyArgument, command_line, emit
from nas.cli.quantities import parse
from nas.errors import InfeasibleError, InputError, UnknownNameError
from nas.report.front import CandidateRecord, FrontRecord

if TYPE_CHECKING:
    from nas.report.tracking import Fetched

__all__ = ["DeviceChoice", "find_candidate", "register"]

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
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, every candidate.")] = False,
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


def find_candidate(record: FrontRecord, name: str) -> CandidateRecord:
    """A candidate by id or by an unambiguous beginning of it."""
    found = [each for each in record.candidates if each.id.startswith(name)]
    exact = [each for each in found if each.id == name]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        raise InputError(f"{name!r} begins {len(found)} candidates: {', '.join(each.id for each in found[:5])}")
    hint = f"(nas front --csv lists the {len(record.candidates)} there are)"
    raise UnknownNameError("candidate", name, (), hint, aliases=[each.id for each in record.candidates])


def _choose(
    record: FrontRecord, candidate: str | None, bounds: dict[str, str | None], knee: bool, fastest: bool, most_accurate: bool
) -> CandidateRecord:
    """The candidate that the options mean: an id, or the most accurate, the knee or the fastest of the front within the bounds."""
    from nas.cli.search import BOUNDS
    from nas.report.units import describe

    if sum([candidate is not None, knee, fastest, most_accurate]) > 1:
        raise InputError("choose one of --pick, --knee, --fastest and --most-accurate")
    if candidate is not None:
        if given := [option for option, text in bounds.items() if text is not None]:
            raise InputError(f"--pick names one candidate: leave out {', '.join(given)}")
        return find_candidate(record, candidate)
    able = list(record.front)
    for option, text in bounds.items():
        if text is None:
            continue
        metric, kind, side = BOUNDS[option]
        bound = parse(text, kind, option)
        values = [each.value(metric) for each in able]
        kept = [e for e, v in zip(able, values, strict=True) if v is not None and (v <= bound if side == "max" else v >= bound)]
        if not kept:
            best = (min if side == "max" else max)((e for e in able if e.value(metric) is not None), key=lambda e: e.value(metric) or 0.0)
            figure = describe(metric, best.candidate.metrics[metric])
            raise InfeasibleError(
                f"no member of the front meets {option} {text}: the nearest has {figure}", len(able), {metric: best.value(metric) or 0.0}
            )
        able = kept
    if fastest:
        return min(able, key=lambda each: each.value("latency_s") or 0.0)
    if knee:
        from nas.report.highlights import cost_of
        from nas.report.highlights import knee as knee_of

        return knee_of(able, cost_of(record))
    return max(able, key=lambda each: (each.value("accuracy_search") or 0.0, -(each.value("latency_s") or 0.0)))


MaxLatency = Annotated[str | None, typer.Option(metavar="LATENCY", help="e.g. 20ms", show_default=False)]
MaxEnergy = Annotated[str | None, typer.Option(metavar="ENERGY", help="e.g. 40mJ", show_default=False)]
MaxParams = Annotated[str | None, typer.Option(metavar="COUNT", help="e.g. 3M", show_default=False)]
MaxSize = Annotated[str | None, typer.Option(metavar="BYTES", help="e.g. 4MiB", show_default=False)]
MinAccuracy = Annotated[str | None, typer.Option(metavar="SHARE", help="e.g. 0.9 or 90%", show_default=False)]
Knee = Annotated[bool, typer.Option("--knee", help="The knee of the front.")]
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
    min_accuracy: MinAccuracy = None,
    knee: Knee = False,
    fastest: Fastest = False,
    most_accurate: MostAccurate = False,
    as_json: JsonOption = False,
) -> None:
    """One candidate of the front, with its figures.

    The most accurate one by search accuracy, where no other is asked for.

    Example: nas pick --max-latency 20ms
    """
    from nas.cli.show import candidate_lines
    from nas.report.record import read_front, study_folder
    from nas.report.tracking import is_model_uri

    bounds = {
        "--max-latency": max_latency, "--max-energy": max_energy, "--max-params": max_params, "--max-size": max_size,
        "--min-accuracy": min_accuracy,
    }  # fmt: skip
    if study is not None and is_model_uri(study):
        _refuse_choice(study, device, candidate, bounds, knee or fastest or most_accurate)
        with _registered(runs, study) as fetched:
            name, chip, chosen = fetched.study, fetched.device, fetched.candidate
    else:
        record = read_front(study_folder(runs, study), device)
        name, chip, chosen = record.study, record.device, _choose(record, candidate, bounds, knee, fastest, most_accurate)
    if as_json:
        emit({"schema": 1, "study": name, "device": chip, "candidate": chosen.to_dict()})
        return
    for line in candidate_lines(chosen):
        typer.echo(line)
    if not chosen.artifacts:
        typer.echo(f"not exported yet: {command_line('nas export', name, runs)} --pick {chosen.id}")


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
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where to.", show_default="exports/<study>-<id>")] = None,
    as_json: JsonOption = False,
) -> None:
    """Deployable files of a candidate, and its card.

    A candidate that is no finalist is fine-tuned, tested and checked first. The folder gets all files or none.

    Example: nas export --knee --format openvino --precision int8
    """
    from nas.cli.search import stopping
    from nas.cli.show import Display
    from nas.report.record import read_front, study_folder
    from nas.report.tracking import is_model_uri

    if study is not None and is_model_uri(study):
        _refuse_choice(study, device, candidate, {"--max-latency": max_latency}, knee or fastest or most_accurate)
        if precision is not None:
            raise InputError(f"{study} is one file in one precision: leave --precision out, or name the study and --pick")
        _export_registered(runs, study, form, out, as_json)
        return
    folder = study_folder(runs, study)
    record = read_front(folder, device)
    chosen = _choose(record, candidate, {"--max-latency": max_latency}, knee, fastest, most_accurate)
    with Display() as display, stopping() as stop:
        from nas.exporting import export as write

        wanted: Literal["fp32", "int8"] = precision or ("int8" if chosen.candidate.target.precision == "int8" else "fp32")
        written = write(folder, chosen, form, wanted, out or Path("exports") / f"{record.study}-{chosen.id}", display, stop.is_set)
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

    It is looked for where the study of that name is tracked, else where MLFLOW_TRACKING_URI says, else in the local store.
    """
    from nas.errors import StudyError
    from nas.report.record import list_studies
    from nas.report.study import load_config
    from nas.report.tracking import Connection, check_uri, fetch

    where = os.environ.get("MLFLOW_TRACKING_URI") or None
    for folder in list_studies(runs):
        with suppress(StudyError):
            config, _ = load_config(folder)
            if uri.removeprefix("models:/").startswith(f"{config.study}-"):
                where = config.tracking_uri
                break
    with tempfile.TemporaryDirectory() as home:
        yield fetch(Connection(runs, where and check_uri(where)), uri, Path(home))


def _export_registered(runs: Path, uri: str, form: str, out: Path | None, as_json: bool) -> None:
    from nas.report.tracking import write_fetched

    with _registered(runs, uri) as fetched:
        name = fetched.candidate.id
        if form != "onnx":
            raise InputError(
                f"--format {form} is checked on the study's images: {command_line('nas export', fetched.study, runs)} "
                f"--device {fetched.device} --pick {name} --format {form}"
            )
        written = write_fetched(fetched, out or Path("exports") / f"{fetched.study}-{name}")
    if as_json:
        emit({"schema": 1, "study": fetched.study, "id": name, "format": form, "files": [str(path) for path in written]})
        return
    for path in written:
        typer.echo(f"wrote {path}")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (front, pick, export):
        app.command()(command)
