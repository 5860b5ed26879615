"""nas train-supernet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import JsonOption, RunsOption, emit
from nas.cli.quantities import parse
from nas.errors import InputError, StoppedError, UnknownNameError

if TYPE_CHECKING:
    from nas.config import TrainRecipe

__all__ = ["RecipeOption", "WeightsOption", "make_recipe", "register"]

RecipeOption = Annotated[
    list[str] | None,
    typer.Option("--recipe", metavar="KEY=VALUE", help="Of the training recipe, e.g. lr=0.1; repeat it.", show_default=False),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option("--weights", metavar="FILE", help="Supernet weights to start from; --epochs 0 uses them as they are.", show_default=False),
]  # fmt: skip


def train_supernet(
    runs: RunsOption,
    data: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="digits, or a folder or .zip with train/<class>/*.jpg and test/<class>/*.jpg.")
    ] = "digits",
    space: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Search space; one that fits the data.", show_default=False)
    ] = None,
    epochs: Annotated[int | None, typer.Option(metavar="N", help="Passes over the images.", show_default="by data")] = None,
    time_budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="The schedule is over by then, e.g. 60m.", show_default=False)
    ] = None,
    weights: WeightsOption = None,
    recipe: RecipeOption = None,
    tracking_uri: Annotated[
        str | None, typer.Option(metavar="URI", help="MLflow store or server.", show_default="SQLite in runs/mlflow")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Decides split, weights and order.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Trains the network that a search takes accuracies from.

    The same command goes on where it was stopped, and finds it trained the second time; so does nas search with the same space, data,
    recipe and seed. Of its --time-budget a search gives half to the supernet: it finds one that took no less, and without --time-budget one
    that was trained to its end.

    Several GPUs or processes: torchrun --nproc-per-node 2 -m nas train-supernet, with the same options.

    Example: nas train-supernet --space mobilenet_cifar --data photos.zip --time-budget 60m
    """
    from nas.cli.search import stopping
    from nas.cli.show import Display
    from nas.report.tracking import check_uri

    if tracking_uri is not None:
        check_uri(tracking_uri)  # before torch is loaded
    from nas.config import default_space
    from nas.report.units import seconds_text
    from nas.supernet import Request, train

    budget_s = None if time_budget is None else parse(time_budget, "duration", "--time-budget")
    chosen = make_recipe(data, epochs, recipe or ())
    if chosen.epochs == 0 and weights is None:
        raise InputError("0 epochs leave weights as they are, and none are given: --weights FILE, or 1 epoch or more")
    request = Request(space or default_space(data), data, chosen, seed, runs, budget_s, weights, tracking_uri)
    try:
        with Display() as display, stopping() as stop:
            made = train(request, display, stop.is_set)
    except StoppedError as exc:
        raise StoppedError(f"{exc}\nthe same command goes on") from exc
    if made is None:  # not the first process of several
        return
    if as_json:
        emit({
            "schema": 1, "weights": str(made.path), "steps": made.steps, "epochs": made.epochs, "seconds": made.seconds,
            "trained_seconds": made.trained_s, "accuracy_search": {"largest": made.largest, "smallest": made.smallest},
        })  # fmt: skip
        return
    typer.echo(
        f"trained   {made.epochs} epochs, {made.steps} steps, {seconds_text(made.seconds)} ({seconds_text(made.trained_s)} of it now)"
    )
    typer.echo(f"accuracy  largest {made.largest:.2%}, smallest {made.smallest:.2%} on search-validation (source supernet)")
    typer.echo(f"weights   {made.path}")


def make_recipe(data: str, epochs: int | None, given: Sequence[str]) -> TrainRecipe:
    """The recipe for a data set, with what was given on the command line.

    Raises:
        InputError: an entry that is no KEY=VALUE, or a value that does not fit.
        UnknownNameError: no such key.
    """
    from pydantic import ValidationError

    from nas.config import TrainRecipe, default_recipe

    values: dict[str, Any] = default_recipe(data).model_dump() | ({} if epochs is None else {"epochs": epochs})
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--recipe takes KEY=VALUE, e.g. lr=0.1, got {text!r}")
        if key not in TrainRecipe.model_fields:
            raise UnknownNameError("key of a recipe", key, TrainRecipe.model_fields)
        values[key] = value
    try:
        return TrainRecipe.model_validate(values)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        raise InputError(f"recipe.{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}, got {first['input']!r}") from exc


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("train-supernet")(train_supernet)
