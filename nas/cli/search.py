"""nas search."""

from __future__ import annotations

import datetime as dt
import math
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import JsonOption, RunsOption, command_line, emit
from nas.cli.quantities import parse
from nas.cli.train import RecipeOption, WeightsOption, make_recipe
from nas.errors import InputError, StoppedError

if TYPE_CHECKING:
    from nas.config import SearchConfig, TrainRecipe
    from nas.pipeline import Result

__all__ = ["BOUNDS", "register", "report", "stopping"]

BOUNDS = {
    "--max-latency": ("latency_s", "latency", "max"),
    "--max-energy": ("energy_j", "energy", "max"),
    "--max-params": ("params", "count", "max"),
    "--max-size": ("size_bytes", "bytes", "max"),
    "--max-memory": ("peak_memory_bytes", "bytes", "max"),
    "--min-accuracy": ("accuracy_search", "share", "min"),
}
ON_RESUME = frozenset({"runs", "resume", "resumed", "study", "trials", "time_budget", "as_json"})
"""Parameters of `search` that go with --resume; all others are in the stored configuration."""
LONGEST_NAME = 80
OPTIONS = {
    "devices": "--device",
    "objectives": "--objective",
    "time_budget_s": "--time-budget",
    "evaluation_timeout_s": "--evaluation-timeout",
    "halving.epochs": "--epochs",
}
"""Keys of the configuration whose options are named otherwise."""


def _option(metavar: str, text: str) -> Any:
    return typer.Option(metavar=metavar, help=text, show_default=False)


def search(
    context: typer.Context,
    runs: RunsOption,
    device: Annotated[
        list[str] | None,
        typer.Option("--device", "-d", metavar="DEVICE", help="Chip to search for; repeat it for more.", show_default=False),
    ] = None,
    joint: Annotated[
        str | None, _option("worst|mean", "A front for all devices together too, by the worst or the mean of their latencies.")
    ] = None,
    space: Annotated[str | None, _option("NAME|FILE", "Search space: name or YAML file; one that fits the data.")] = None,
    data: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="digits, a folder or .zip with train/<class>/*.jpg and test/<class>/*.jpg, or a .npz.")
    ] = "digits",
    study: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the study.", show_default="device-data-time")] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the study named by --study or after it, else the newest unfinished, else the newest."),
    ] = False,
    resumed: Annotated[
        str | None, typer.Argument(metavar="STUDY", help="With --resume: the study to go on with.", show_default=False)
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(metavar="N", help="Architectures to evaluate, a quarter more a further device.", show_default="150"),
    ] = None,
    time_budget: Annotated[str | None, _option("TIME", "Wall-clock for everything, all resumed runs together, e.g. 20m or 2h.")] = None,
    target_regret: Annotated[
        str | None, _option("SHARE", "Stop when the model expects less of the hypervolume to gain, e.g. 0.5%.")
    ] = None,
    warm_start: Annotated[
        list[str] | None, _option("STUDY", "Earlier study of the same space and data: its accuracies are reused. May be repeated.")
    ] = None,
    start_from: Annotated[
        list[str] | None, _option("NAME|ARCH.json", "Network of the space to evaluate first, e.g. efficientnet_lite0. May be repeated.")
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="accuracy, latency, energy, macs, params, size, memory.", show_default="accuracy latency"),
    ] = None,
    max_latency: Annotated[str | None, _option("LATENCY", "e.g. 25ms")] = None,
    max_energy: Annotated[str | None, _option("ENERGY", "e.g. 40mJ")] = None,
    max_params: Annotated[str | None, _option("COUNT", "e.g. 3M")] = None,
    max_size: Annotated[str | None, _option("BYTES", "e.g. 4MiB")] = None,
    max_memory: Annotated[str | None, _option("BYTES", "e.g. 64MiB")] = None,
    min_accuracy: Annotated[str | None, _option("SHARE", "e.g. 0.9 or 90%")] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Inference runtime; repeat it to choose among them.", show_default="the profile's"),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option("--precision", metavar="NAME", help="fp32, or fp32 and int8: repeat it.", show_default="fp32"),
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option(metavar="N", help="Threads; repeat it to choose among them for each architecture.", show_default="the profile's"),
    ] = None,
    evaluator: Annotated[str, typer.Option(metavar="NAME", help="Where accuracy comes from: supernet, train, tabular.")] = "supernet",
    table: Annotated[str | None, _option("FILE", "Known results for --evaluator tabular: .csv, .json or .parquet.")] = None,
    teacher: Annotated[str | None, _option("FILE.onnx", "Finalists learn from this model instead of the largest network.")] = None,
    sampler: Annotated[str, typer.Option(metavar="NAME", help="How architectures are proposed: front, tpe, gp, nsga2, random.")] = "front",
    finalists: Annotated[int, typer.Option(metavar="N", help="Members of the front to fine-tune, test and export.")] = 5,
    prune: Annotated[
        str | None, _option("SHARE", "Prune each finalist too, to this share of its latency, e.g. 70%; kept where no other beats it.")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(metavar="N", help="Of the supernet, or of each network (--evaluator train).", show_default="by data"),
    ] = None,
    weights: WeightsOption = None,
    recipe: RecipeOption = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Measure networks near the front on the way, and refit the latency predictor with them.")
    ] = False,
    via: Annotated[str | None, _option("ADDRESS", "How --verify reaches a device other than host: ssh://user@host.")] = None,
    grid: Annotated[str, typer.Option(metavar="CODE", help="Country of the search's own electricity, ISO 3166.")] = "WORLD",
    workers: Annotated[int, typer.Option(metavar="N", help="Processes that evaluate; 1 is repeatable.")] = 1,
    ray: Annotated[str | None, _option("auto|ADDRESS", "Evaluate on a Ray cluster, e.g. 10.0.0.1:6379.")] = None,
    evaluation_timeout: Annotated[
        str | None, _option("TIME", "Try an evaluation again that takes longer; else many times what others took.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(metavar="URL", help="Of the study's storage.", show_default="SQLite in the study's folder")
    ] = None,
    tracking_uri: Annotated[
        str | None, typer.Option(metavar="URI", help="MLflow store or server.", show_default="SQLite in runs/mlflow")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Decides split, weights and proposals.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """From a chip's name to a Pareto front of exported models.

    Example: nas search --device raspberrypi4 --data photos.zip --max-latency 25ms --time-budget 1h
    """
    from nas.cli.show import Display

    budget_s = None if time_budget is None else parse(time_budget, "duration", "--time-budget")
    if resume:
        _refuse_fixed(context)
        if resumed and study and resumed != study:
            raise InputError(f"--resume goes on with one study, got {study!r} and {resumed!r}")
        config = _resumed(runs, resumed or study, trials, budget_s)
    else:
        if resumed is not None:
            raise InputError(f"what is {resumed!r}? A study to go on with is named after --resume, a new one by --study")
        if not device:
            raise InputError("--device is needed, e.g. nas search --device raspberrypi4; nas devices lists them")
        bounds = {
            "--max-latency": max_latency, "--max-energy": max_energy, "--max-params": max_params, "--max-size": max_size,
            "--max-memory": max_memory, "--min-accuracy": min_accuracy,
        }  # fmt: skip
        values = {
            "study": _new_name(device[0], data) if study is None else study, "devices": tuple(device), "joint": joint, "space": space,
            "data": data,
            "trials": trials, "time_budget_s": budget_s, "constraints": _constraints(bounds),
            "objectives": tuple(objective) if objective else None, "runtime": tuple(runtime or ()), "precision": _precision(precision),
            "threads": tuple(threads or ()), "evaluator": evaluator, "table": table, "teacher": teacher, "sampler": sampler,
            "finalists": finalists, "prune": None if prune is None else parse(prune, "part", "--prune"),
            "verify": verify, "via": via, "grid": grid, "workers": workers,
            "ray": ray, "seed": seed, "storage": storage, "tracking_uri": tracking_uri,
            "weights": None if weights is None else _absolute(str(weights), is_path=True), "warm_start": tuple(warm_start or ()),
            "start_from": tuple(_absolute(name, Path(name).is_file()) for name in start_from or ()),
            "evaluation_timeout_s": None if evaluation_timeout is None else parse(evaluation_timeout, "duration", "--evaluation-timeout"),
            "target_regret": None if target_regret is None else parse(target_regret, "share", "--target-regret"),
        }  # fmt: skip
        config = _new(values, epochs, make_recipe(data, epochs, recipe or ()))
    try:
        with Display() as display, stopping() as stop:
            from nas.pipeline import run

            result = run(config, runs, display, stop.is_set, resume=resume)
    except (StoppedError, KeyboardInterrupt) as exc:
        if not (runs / config.study / "config.json").is_file():
            raise
        raise StoppedError(
            f"{str(exc) or 'stopped at once'}\ngo on with {command_line('nas search --resume', config.study, runs)}"
        ) from exc
    report(result, runs, as_json)


def _precision(given: list[str] | None) -> str | None:
    """What of the configuration the options mean."""
    if not given:
        return None
    for name in given:
        if name not in ("fp32", "int8"):
            raise InputError(f"--precision takes fp32, int8, or both of them, got {name!r}")
    return "both" if len(set(given)) == 2 else given[0]


def _refuse_fixed(context: typer.Context) -> None:
    """Refuses options that were given, but are in the stored configuration."""
    given = []
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name not in ON_RESUME and source is not None and source.name == "COMMANDLINE":
            given.append(parameter.opts[0])
    if given:
        raise InputError(
            f"--resume goes on with the stored configuration: leave out {', '.join(given)} (--trials and --time-budget may grow)"
        )


def _constraints(given: dict[str, str | None]) -> tuple[Any, ...]:
    from nas.metrics import Constraint

    found = []
    for option, text in given.items():
        if text is not None:
            metric, kind, side = BOUNDS[option]
            found.append(Constraint(metric, parse(text, kind, option), "min" if side == "min" else "max"))
    return tuple(found)


def _new(values: dict[str, Any], epochs: int | None, recipe: TrainRecipe) -> SearchConfig:
    from nas import plugins
    from nas.config import check_config, default_space
    from nas.errors import UnknownNameError
    from nas.report.tracking import check_uri
    from nas.resources import given_path

    if values["tracking_uri"] is not None:
        check_uri(values["tracking_uri"])

    for option in ("evaluator", "sampler"):
        known = plugins.names(f"{option}s")
        if values[option] not in known:
            raise UnknownNameError(option, values[option], known)
    space = default_space(values["data"]) if values["space"] is None else values["space"]
    # Paths are kept absolute, so that the study can be resumed from another folder.
    data = values["data"]
    named = {
        "devices": tuple(_absolute(name, given_path("*/profile.yaml", name) is not None) for name in values["devices"]),
        "space": _absolute(space, given_path("*.yaml", space) is not None),
        "data": _absolute(data, data not in ("", "digits") and Path(data).expanduser().exists()),
        **{name: _absolute(values[name], is_path=True) for name in ("table", "teacher") if values[name] is not None},
        **{name: _anchored(values[name]) for name in ("storage", "tracking_uri") if values[name] is not None},
    }
    halving = {} if epochs is None or values["evaluator"] == "supernet" else {"epochs": epochs}
    given = {name: value for name, value in values.items() if value is not None}  # the others have the configuration's defaults
    return check_config({**given, **named, "recipe": recipe.model_dump(), "halving": halving}, _option_of)


def _option_of(key: str) -> str:
    """The option that a key of the configuration, or one of its items, comes from."""
    first = key.split(".", 1)[0]
    return OPTIONS.get(key) or OPTIONS.get(first) or f"--{first.replace('_', '-')}"


def _absolute(name: str, is_path: bool) -> str:
    return str(Path(name).expanduser().resolve()) if is_path else name


def _anchored(url: str) -> str:
    """A URL with the path of its file absolute."""
    for scheme in ("sqlite:///", "journal://"):
        path = url.removeprefix(scheme)
        if path != url and path not in ("", ":memory:"):
            return f"{scheme}{Path(path).expanduser().resolve()}"
    return url


def _resumed(runs: Path, name: str | None, trials: int | None, budget_s: float | None) -> SearchConfig:
    from nas.config import check_config
    from nas.report.record import study_folder
    from nas.report.study import folder_to_resume, load_config
    from nas.report.units import seconds_text

    folder = folder_to_resume(runs) if name is None else study_folder(runs, name)
    if name is None:
        typer.echo(f"going on with study {folder.name}", err=True)
    config, _ = load_config(folder)
    if trials is not None and trials < config.trials:
        raise InputError(f"--trials may only grow on --resume: the study has {config.trials}, got {trials}")
    if budget_s is not None and budget_s < (config.time_budget_s or math.inf):
        had = seconds_text(config.time_budget_s) or "no limit"
        raise InputError(f"--time-budget may only grow on --resume: the study has {had}, got {seconds_text(budget_s)}")
    changes = {"trials": trials or config.trials, "time_budget_s": budget_s or config.time_budget_s}
    return check_config({**config.model_dump(), **changes})


def _new_name(device: str, data: str) -> str:
    """device-data-time, with what a folder's name may hold."""
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{Path(device).name}-{Path(data).stem}").strip("-.")
    return f"{words[:LONGEST_NAME] or 'study'}-{dt.datetime.now().astimezone():%Y%m%d-%H%M%S}"


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


def report(result: Result, runs: Path, as_json: bool) -> None:
    """What a search ended with: fronts, files and where to look at them.

    Raises:
        InfeasibleError: after that, where a device has no front.
    """
    _report(result, runs, as_json)
    if result.infeasible is not None:
        raise result.infeasible


def _report(result: Result, runs: Path, as_json: bool) -> None:
    from nas.cli.show import print_front

    if as_json:
        emit({
            "schema": 1, "study": result.folder.name, "folder": str(result.folder), "seconds": result.seconds,
            "view": result.view, "fronts": [front.to_dict() for front in result.fronts],
        })  # fmt: skip
        return
    for front in result.fronts:
        print_front(front)
        for each in front.finalists:
            kind = "onnx_int8" if each.candidate.target.precision == "int8" else "onnx"
            if kind in each.artifacts:
                typer.echo(f"exported  {result.folder / each.artifacts[kind]}")
        typer.echo()
    typer.echo(f"report    {result.folder / 'report.html'}")
    typer.echo(f"pictures  {result.folder / 'front.html'}  {result.folder / 'front.png'}")
    if result.view.startswith("http"):
        typer.echo(f"MLflow    {result.view}")
    elif result.view:
        typer.echo(f"MLflow    {command_line('nas ui', result.folder.name, runs)}  then  http://127.0.0.1:5000{result.view}")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(search)
