"""The command line. Imports of heavy libraries stand inside the commands: `nas --help` is quick and the base install suffices for it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
import typer

from nas.cli import bench, inspect, results, search
from nas.errors import MissingExtraError, NasError

__all__ = ["app", "main"]

app = typer.Typer(
    name="nas",
    help="Hardware-aware neural architecture search: from a chip's name to measured, deployable models.\n\n"
    "Example: nas search --device raspberrypi4",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def _root(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),  # noqa: ARG001
    version: bool = typer.Option(False, "--version", help="Show the version and exit."),
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"hwnas {installed('hwnas')}")
        raise typer.Exit


search.register(app)
inspect.register(app)
results.register(app)
bench.register(app)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs a command and exits: 0 done, 2 bad input, 3 nothing feasible, 4 target unreachable, 5 internal, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    try:
        # --debug may stand anywhere.
        code = app(args=[a for a in arguments if a != "--debug"], standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.NoArgsIsHelpError as exc:
        exc.show()
        sys.exit(2)
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted: what was done is saved; nas search --resume goes on")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except NasError as exc:
        if debug:
            raise
        _say(str(exc))
        sys.exit(exc.exit_code)
    except ModuleNotFoundError as exc:
        if debug or (exc.name or "nas").split(".")[0] == "nas":
            raise
        missing = MissingExtraError(str(exc.name), "search")
        _say(str(missing))
        sys.exit(missing.exit_code)
    except Exception as exc:
        if debug:
            raise
        _say(f"internal error: {type(exc).__name__}: {exc}\nrun it again with --debug and report what it prints")
        sys.exit(5)


def _say(message: str) -> None:
    print(f"nas: {message}", file=sys.stderr)  # noqa: T201
