"""The commands in one typer application."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from itertools import pairwise

import typer
from typer.core import TyperGroup

from nas.cli import bench, devices, impact, inspect, measure, predictor, results, search, studies, tracking, train
from nas.cli import run as run_model
from nas.errors import InputError, StoppedError

__all__ = ["app", "run"]

ORDER = (
    "search", "train-supernet", "studies", "front", "pick", "export", "run", "impact", "ui", "sync", "predict", "measure", "predictor",
    "devices", "spaces", "doctor", "bench",
)  # fmt: skip
"""Of the commands in the help: as a user needs them."""


class _InOrder(TyperGroup):
    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return sorted(super().list_commands(ctx), key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


app = typer.Typer(
    name="nas",
    cls=_InOrder,
    help="Hardware-aware neural architecture search: from a chip's name to measured, deployable models.\n\n"
    "Example: nas search --device raspberrypi4",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"hwnas {version('hwnas')}")
        raise typer.Exit


@app.callback()
def _root(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(False, "--version", help="Show the version and exit.", callback=_show_version, is_eager=True),
) -> None:
    """Options that stand before a command."""


search.register(app)
train.register(app)
studies.register(app)
devices.register(app)
inspect.register(app)
measure.register(app)
predictor.register(app)
results.register(app)
tracking.register(app)
run_model.register(app)
impact.register(app)
bench.register(app)


def run(arguments: Sequence[str]) -> int:
    """Runs a command; what it returns is the exit code.

    Raises:
        InputError: arguments that typer refuses.
        StoppedError: the user said no to a question.
        KeyboardInterrupt: Ctrl-C.
    """
    try:
        code = app(args=list(arguments), prog_name="nas", standalone_mode=False)
    except typer.Abort:
        raise StoppedError("not confirmed: nothing was done") from None
    except typer.TyperException as exc:
        if _is_help(exc):
            typer.echo(exc.format_message(), err=True)
            return 2
        raise InputError(_advice(exc, arguments)) from exc
    if code == 128 + signal.SIGINT:  # typer's own reading of Ctrl-C
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


def _is_help(exc: typer.TyperException) -> bool:
    """Whether typer only shows what there is: `nas`, or a group of commands, was called without a command."""
    context = getattr(exc, "ctx", None)
    return context is not None and exc.format_message() == context.get_help()


def _advice(exc: typer.TyperException, arguments: Sequence[str]) -> str:
    """What typer says, with the value that was given where it leaves it out, and where help is."""
    text = exc.format_message().replace("Value error, ", "").rstrip(".")
    if isinstance(exc, typer.BadParameter) and exc.param is not None:
        split = [part for argument in arguments for part in argument.split("=", 1)]
        given = next((after for option, after in pairwise(split) if option in exc.param.opts), None)
        text += f", got {given!r}" if given is not None and repr(given) not in text else ""
    context = getattr(exc, "ctx", None)
    return f"{text}\n{context.command_path if context else 'nas'} --help shows what there is"
