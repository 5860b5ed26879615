"""nas devices: those that are known, a new one, and whether one answers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import JsonOption, ViaOption, emit, hand_down
from nas.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from nas.hardware.profile import DeviceProfile

__all__ = ["register"]

devices = typer.Typer(
    help="Devices: chip, targets, how well calibrated.\n\nExample: nas devices show raspberrypi4", invoke_without_command=True
)
DeviceArgument = Annotated[str, typer.Argument(metavar="DEVICE", help="Name, alias or folder.")]


@devices.callback()
def _devices(context: typer.Context, as_json: JsonOption = False) -> None:
    if context.invoked_subcommand is None:
        list_devices(as_json)
    else:
        hand_down(context)


def _calibration(profile: DeviceProfile) -> dict[str, object]:
    target = profile.target()
    predictor = profile.predictor(target)
    return {
        "device": profile.name,
        "title": profile.title,
        "aliases": list(profile.aliases),
        "target": target.to_dict(),
        "band_factor": round(math.exp(predictor.half_width), 3),
        "measurements": predictor.measurements,
        "source": predictor.source,
    }


def _listed(name: str) -> dict[str, Any]:
    """What a list says of a device; why it cannot say more of one whose profile does not hold, or that nothing is known of yet."""
    from nas.hardware.profile import load_profile

    found: dict[str, Any] = {
        "device": name, "title": "", "aliases": [], "target": None, "band_factor": None, "measurements": 0, "source": "", "why": "",
    }  # fmt: skip
    try:
        profile = load_profile(name)
        found |= {"title": profile.title, "aliases": list(profile.aliases)}
        return {**found, **_calibration(profile)}
    except InputError as exc:
        return {**found, "why": str(exc)}


@devices.command("list")
def list_devices(as_json: JsonOption = False) -> None:
    """Devices by name.

    Example: nas devices list --json
    """
    from nas.cli.show import Column, print_table
    from nas.hardware.profile import profile_names

    found = [_listed(name) for name in profile_names()]
    if as_json:
        emit({"schema": 1, "devices": found})
        return
    columns = [
        Column("device"), Column("what", wraps=True), Column("default target", wraps=True), Column("band", right=True),
        Column("measured", right=True), Column("predictor from", wraps=True, rank=1),
    ]  # fmt: skip
    rows = []
    for each in found:
        if (target := each["target"]) is None:
            rows.append([each["device"], each["title"] or "-", "-", "-", "-", each["why"]])
            continue
        shown = f"{target['runtime']} {target['precision']} {target['threads']} thread(s)"
        cells = (each["device"], each["title"], shown, f"x/÷ {each['band_factor']:.3g}", each["measurements"], each["source"])
        rows.append([str(cell) for cell in cells])
    print_table(columns, rows, caption="band: 90 % of latencies lie within the prediction x/÷ this factor", all_of_it="nas devices show")


@devices.command("show")
def show_device(device: DeviceArgument, as_json: JsonOption = False) -> None:
    """Facts of a device with their sources, and what is not known.

    Example: nas devices show raspberrypi4
    """
    from nas.hardware.profile import load_profile

    profile = load_profile(device)
    facts = {**profile.model_dump(mode="json", by_alias=True), "calibration": _calibration(profile)}
    if as_json:
        emit(facts)
        return
    calibration = facts["calibration"]
    typer.echo(f"{profile.name}: {profile.title}" + (f"   also called {', '.join(profile.aliases)}" if profile.aliases else ""))
    for name, fact in facts["chip"].items():
        if fact is not None:
            value = f"{fact['value']:.4g}" if isinstance(fact["value"], float) else fact["value"]
            typer.echo(f"  {name:<20} {value}   [{fact['source']}]")
    for power in filter(None, (profile.measured_power, profile.power)):
        for precision in ("fp32", *power.by_precision):
            watts = ", ".join(f"{count} busy {w:g} W" for count, w in power.known(precision).items())
            told = f", {precision}" if power.by_precision else ""
            typer.echo(f"  {'power' + told:<20} {watts}, {power.scope}   [{power.source}]")
    if profile.power is None:
        typer.echo(f"  {'power':<20} no data: energy of the board is not known")
    for name, runtime in profile.runtimes.items():
        typer.echo(f"  {'runtime ' + name:<20} version {runtime.version}, {', '.join(runtime.precisions)}")
    typer.echo(f"  {'latency band':<20} x/÷ {calibration['band_factor']} (90 %), {calibration['measurements']} measurements")
    typer.echo(f"  {'predictor from':<20} {calibration['source']}")
    for name, value in profile.predictor(profile.target()).quality:
        typer.echo(f"    {name:<38} {value:.4g}")
    for sentence in profile.unknown:
        typer.echo(f"  not known: {sentence}")


@devices.command("add")
def add_device(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the new device: letters, digits, - and _.")],
    via: ViaOption = None,
    as_json: JsonOption = False,
) -> None:
    """Writes a profile from what a device says of itself.

    Nothing is measured yet: nas measure does that, and adds a new device by itself.

    Example: nas devices add mychip --via ssh://pi@raspberrypi.local
    """
    from nas.hardware.profile import load_profile
    from nas.measuring import reach

    try:
        known = load_profile(name)
    except UnknownNameError:
        profile, address = reach(name, via, lambda text: typer.echo(text, err=True))
    else:
        raise InputError(f"{name} is known already ({known.folder}): nas devices show {name}, or choose another name")
    if as_json:
        emit({"schema": 1, "device": profile.name, "profile": str(profile.folder / "profile.yaml"), "address": address})
        return
    typer.echo(f"measure it with: nas measure --device {name} --via {address}")


@devices.command("check")
def check_device(device: DeviceArgument, via: ViaOption = None, as_json: JsonOption = False) -> None:
    """Checks a profile, and the device behind --via.

    Which targets have a predictor and how wide its band is; what the device has installed.

    Example: nas devices check mychip --via ssh://pi@raspberrypi.local
    """
    from nas.hardware.profile import load_profile
    from nas.measuring import HOST, LOCAL, ask

    profile = load_profile(device)
    targets = [_target_facts(profile, runtime, precision) for runtime, r in profile.runtimes.items() for precision in r.precisions]
    address = LOCAL if via is None and profile.name == HOST else via
    there = None if address is None else ask(profile, address, lambda text: typer.echo(text, err=True))
    if as_json:
        emit({"schema": 1, "device": profile.name, "folder": str(profile.folder), "targets": targets, "address": address, "there": there})
        return
    file = profile.folder / "profile.yaml"
    typer.echo(f"{profile.name}: {file} holds" if file.is_file() else f"{profile.title}, as it tells of itself: {profile.folder}")
    for each in targets:
        told = f"band x/÷ {each['band_factor']}, {each['measurements']} measurements" if each["band_factor"] else each["why"]
        typer.echo(f"  {each['runtime'] + ' ' + each['precision']:<20} {told}")
    if there is None:
        typer.echo("  not asked whether it answers: --via ssh://user@host does")
        return
    typer.echo(f"  {address:<20} answers: {there['title']}, Python {there['python']}, numpy {there['numpy']}")
    for name, runtime in there["runtimes"].items():
        typer.echo(f"  {'there: ' + name:<20} version {runtime['version']}, {', '.join(runtime['precisions'])}")


def _target_facts(profile: DeviceProfile, runtime: str, precision: str) -> dict[str, Any]:
    """How well the predictor of a target is known; why there is none."""
    found: dict[str, Any] = {"runtime": runtime, "precision": precision, "band_factor": None, "measurements": 0, "why": ""}
    try:
        predictor = profile.predictor(profile.target(runtime, precision))
    except InputError as exc:
        return {**found, "why": str(exc)}
    return {**found, "band_factor": round(math.exp(predictor.half_width), 3), "measurements": predictor.measurements}


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(devices, name="devices")
