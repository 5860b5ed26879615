"""nas spaces, nas predict, nas doctor: what is known without a study. All of it works with the base install."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nas.cli.options import DeviceOption, JsonOption, PrecisionOption, RunsOption, RuntimeOption, ThreadsOption, emit, hand_down
from nas.errors import InputError

__all__ = ["register"]

spaces = typer.Typer(help="Search spaces: size, decisions, costs.\n\nExample: nas spaces show mobilenetv3", invoke_without_command=True)


@spaces.callback()
def _spaces(context: typer.Context, as_json: JsonOption = False) -> None:
    if context.invoked_subcommand is None:
        list_spaces(as_json)
    else:
        hand_down(context)


def _space_facts(name: str) -> dict[str, Any]:
    from nas.cost import count
    from nas.space import load_space

    space = load_space(name)
    low, high = (count(space.decode(arch)) for arch in (space.smallest, space.largest))
    return {
        "space": space.name,
        "size": str(space.size),
        "decisions": len(space.genes),
        "resolutions": list(space.resolutions),
        "macs": [low.macs, high.macs],
        "params": [low.params, high.params],
        "source": space.source,
    }


def _listed(name: str) -> dict[str, Any]:
    """What a list says of a space; why it cannot of one whose file does not hold."""
    try:
        return {**_space_facts(name), "why": ""}
    except InputError as exc:
        unknown = dict.fromkeys(("size", "decisions", "resolutions", "macs", "params"))
        return {"space": name, **unknown, "source": "", "why": str(exc)}


@spaces.command("list")
def list_spaces(as_json: JsonOption = False) -> None:
    """Search spaces by name.

    Example: nas spaces list --json
    """
    from nas.cli.show import Column, print_table
    from nas.report.units import digits
    from nas.space import space_names

    found = [_listed(name) for name in space_names()]
    if as_json:
        emit({"schema": 1, "spaces": found})
        return
    columns = [
        Column("space"), Column("size", right=True), Column("decisions", right=True, rank=1), Column("pixels"), Column("MACs M"),
        Column("params M"), Column("source", wraps=True, rank=2),
    ]  # fmt: skip
    rows = []
    for each in found:
        if each["why"]:
            rows.append([each["space"], "-", "-", "-", "-", "-", each["why"]])
            continue
        sizes = each["resolutions"]
        pixels = f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else str(sizes[0])
        spans = (f"{digits(low / 1e6)} to {digits(high / 1e6)}" for low, high in (each["macs"], each["params"]))
        rows.append([each["space"], f"{float(each['size']):.2g}", str(each["decisions"]), pixels, *spans, each["source"]])
    print_table(columns, rows, all_of_it="nas spaces show")


@spaces.command("show")
def show_space(space: Annotated[str, typer.Argument(metavar="SPACE", help="Name or YAML file.")], as_json: JsonOption = False) -> None:
    """Every decision of a space and its choices.

    Example: nas spaces show mobilenet_tiny
    """
    from nas.space import load_space

    found = load_space(space)
    genes = {gene.name: list(gene.choices) for gene in found.genes}
    facts = {**_space_facts(space), "genes": genes}
    if as_json:
        emit({"schema": 1, **facts})
        return
    for key, value in facts.items():
        if key != "genes":
            typer.echo(f"{key:<12} {', '.join(map(str, value)) if isinstance(value, list) else value}")
    for name, choices in genes.items():
        typer.echo(f"  {name:<20} {', '.join(map(str, choices))}")


def predict(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Reference name, architecture .json, or .onnx of any convolutional network.")
    ],
    device: DeviceOption,
    runtime: RuntimeOption = None,
    precision: PrecisionOption = None,
    threads: ThreadsOption = None,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Operators without a known cost count as a pass over their tensors, and are named.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Latency and energy of a network on a device.

    With bands, block by block; ONNX files of others operator by operator.

    Example: nas predict mobilenet_v2 --device raspberrypi4 --threads 4
    """
    from nas.prediction import network_of, predict_network

    found = predict_network(network_of(model, allow_unknown), device, runtime, precision, threads)
    if as_json:
        emit(found.to_dict())
        return
    typer.echo(f"{model} on {found.target.key}")
    for line in found.lines():
        typer.echo(f"  {line}")


def doctor(runs: RunsOption, as_json: JsonOption = False) -> None:
    """What works here: runtimes, extras, tracking, meters.

    Example: nas doctor
    """
    from nas.diagnosis import checks

    found = checks(runs)
    if as_json:
        emit({"schema": 1, "checks": [check.to_dict() for check in found]})
        return
    for check in found:
        typer.echo(f"{'ok     ' if check.ok else 'absent '} {check.name:<22} {check.text}")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(spaces, name="spaces")
    app.command()(predict)
    app.command()(doctor)
