"""nas bench: the project's own benchmarks, reproducible by anyone."""

from __future__ import annotations

import shlex
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import JsonOption, emit
from nas.errors import InputError, UnknownNameError

__all__ = ["register"]

NAMES = (
    "chaos", "cifar10", "compress", "energy", "fidelity", "overhead", "predictor", "priors", "scale", "scoring", "search", "supernet",
    "tracking",
)  # fmt: skip
HOST_NAMES = ("predictor",)
"""Benchmarks that can measure on this machine too."""
PIECE_NAMES = ("cifar10", "fidelity")
"""Benchmarks of hours, whose pieces are kept and may be made in several runs."""
DATA = Path("../shared/data")
PROFILES = Path("hw_profiles")
RESULTS, PAGE = Path("docs/benchmarks"), Path("BENCHMARKS.md")


def bench(
    name: Annotated[str, typer.Argument(help=f"{', '.join(NAMES)}; or report, which writes BENCHMARKS.md from docs/benchmarks.")],
    data: Annotated[Path, typer.Option(help="Folder of the public tables.")] = DATA,
    out: Annotated[
        Path | None, typer.Option(help="Write the result as JSON, e.g. docs/benchmarks/priors.json.", show_default=False)
    ] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="In seconds, for CI: checks that it runs, not how good it is.")] = False,
    host: Annotated[bool, typer.Option("--host", help="Measure on this machine too: minutes, and it should be quiet (predictor).")] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Fit the shipped priors anew and write them into hw_profiles/ first (priors).")
    ] = False,
    pieces: Annotated[
        int | None,
        typer.Option("--pieces", min=1, help="Make so many of the missing pieces and end: the next run goes on (cifar10, fidelity)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Runs a benchmark and prints its marks.

    Example: nas bench priors --data ../shared/data
    """
    from nas.bench.outcome import save
    from nas.files import check_writable

    if name == "report":
        _report(as_json)
        return
    if name not in NAMES:
        raise UnknownNameError("benchmark", name, (*NAMES, "report"))
    if host and name not in HOST_NAMES:
        raise InputError(f"--host is for {', '.join(HOST_NAMES)}: {name} measures nothing")
    if pieces is not None and name not in PIECE_NAMES:
        raise InputError(f"--pieces is for {', '.join(PIECE_NAMES)}: {name} is made in one run")
    if write and name != "priors":
        raise InputError(f"--write is for priors: {name} makes no files of the project")
    if out is not None:
        check_writable(out)
    if write:
        from nas.bench.blocks import write_priors

        for path in write_priors(data, PROFILES):
            typer.echo(f"wrote {path}", err=True)
    module = import_module(f"nas.bench.{name}")
    more = (host,) if name in HOST_NAMES else (pieces,) if name in PIECE_NAMES else ()
    outcome = module.run(data, smoke, *more)
    if out is not None:
        elsewhere = f" --data {shlex.quote(str(data))}" if data != DATA else ""
        given = "".join(f" {option}" for option, is_on in (("--smoke", smoke), ("--host", host), ("--write", write)) if is_on)
        save(out, name, f"nas bench {name}{elsewhere}{given}", outcome)
    if as_json:
        emit({"schema": 1, "bench": name, "marks": [{"id": m.id, "value": m.value, "mark": m.mark, "met": m.met} for m in outcome.marks]})
        return
    for mark in outcome.marks:
        sign = ">=" if mark.better == "higher" else "<="
        typer.echo(f"{'met   ' if mark.met else 'missed'} {mark.id:<22} {mark.value:10.4g} {sign} {mark.mark:<8g} {mark.what}")


def _report(as_json: bool) -> None:
    """Writes the page of all results."""
    from nas.bench.outcome import page
    from nas.files import write_atomic

    write_atomic(PAGE, page(RESULTS))
    if as_json:
        emit({"schema": 1, "bench": "report", "wrote": str(PAGE), "results": sorted(path.stem for path in RESULTS.glob("*.json"))})
    else:
        typer.echo(f"wrote {PAGE}")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(bench)
