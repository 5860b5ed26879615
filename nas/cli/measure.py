"""nas measure."""

from __future__ import annotations

import math
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import JsonOption, PrecisionOption, RuntimeOption, ThreadsOption, ViaOption, emit
from nas.cli.predictor import SkipBad
from nas.errors import InputError

if TYPE_CHECKING:
    from nas.hardware.predictor import LatencyPredictor
    from nas.hardware.profile import DeviceProfile
    from nas.target import Target

__all__ = ["register", "search_of"]

HELD_OUT = ("out_of_fold_mape",)
"""Of a predictor's quality: what networks say that it was not fitted to."""


def measure(
    device: Annotated[str, typer.Option("--device", "-d", help="Name of a device; a new name makes a profile.", show_default=False)],
    n: Annotated[int, typer.Option("-n", "--networks", help="Networks to measure, earlier ones of this space included.", min=4)] = 40,
    via: ViaOption = None,
    space: Annotated[str, typer.Option(help="Space that the networks are from: name or YAML file.")] = "mobilenetv3",
    runtime: RuntimeOption = None,
    precision: PrecisionOption = None,
    threads: ThreadsOption = None,
    energy: Annotated[
        str, typer.Option(metavar="METER", help="Energy meter there: rapl, hwmon, pmic, nvml, csv:FILE; auto where one works; off.")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Decides the networks to choose from.", min=0)] = 0,
    skip_bad: SkipBad = False,
    as_json: JsonOption = False,
) -> None:
    """Measures networks on a device, fits its predictor.

    The same command goes on where it stopped. Energy is measured apart from latency, about 5 s a network.

    Example: nas measure --device mychip --via ssh://pi@raspberrypi.local -n 40
    """
    from nas.cli.search import stopping
    from nas.cli.show import Display
    from nas.config import MeasureProtocol
    from nas.events import Event
    from nas.hardware.metering import Metering
    from nas.hardware.newcomer import own_profile
    from nas.hardware.rows import rows_path
    from nas.measuring import HOST, choose_networks, measure_networks, reach, target_to_measure
    from nas.space import load_space

    started = time.monotonic()
    with Display() as display, stopping() as stop:
        profile, address = reach(device, via, lambda text: display(Event("info", text)))
        target = target_to_measure(profile, runtime, precision, threads)
        metering = Metering(energy, None if profile.power is None else profile.power.limit_w)
        networks = choose_networks(load_space(space), profile, n, seed)
        if len(networks) < n:
            raise InputError(f"space {space!r} gave {len(networks)} different networks: -n must not be more, got {n}")
        display(Event("phase", f"Measuring {n} networks of {space} on {target.key}, {address}"))
        fitted, target = measure_networks(profile, address, target, networks, MeasureProtocol(), display, stop.is_set, skip_bad, metering)
        profile = own_profile(profile)
        if profile.name != HOST and target.runtime not in profile.runtimes:  # host learns its runtimes from what was measured
            display(Event("warning", f"{profile.folder / 'profile.yaml'}: add {target.runtime} to its runtimes to use the predictor"))
    rows = rows_path(profile.folder, target)
    _report(profile, target, fitted, rows, time.monotonic() - started, as_json)
    if not as_json and (command := search_of(device, profile, target)):
        typer.echo(f"search     {command}")


def _report(profile: DeviceProfile, target: Target, fitted: LatencyPredictor, rows: Path, seconds: float, as_json: bool) -> None:
    from nas.measuring import band_note
    from nas.report.units import seconds_text

    path = profile.predictor_path(target)
    held_out = {name: value for name, value in fitted.quality if name in HELD_OUT}
    energy = _energy(profile, target)
    if as_json:
        emit({
            "schema": 1, "device": profile.name, "target": target.to_dict(), "networks": fitted.measurements, "held_out": held_out,
            "fit": {name: value for name, value in fitted.quality if name not in HELD_OUT}, "half_width": fitted.half_width,
            "measurements": str(rows), "predictor": str(path), "seconds": seconds, "energy": energy,
        })  # fmt: skip
        return
    typer.echo(f"measured   {fitted.measurements} networks on {target.key} in {seconds_text(seconds)}")
    for value in held_out.values():
        typer.echo(f"held out   mean absolute error {value:.1%}")
    typer.echo(f"band       90 % of latencies lie within the prediction x/÷ {math.exp(fitted.half_width):.2f}{band_note(fitted)}")
    if energy is not None:
        told = f"mean absolute error {energy['out_of_fold_mape']:.1%} held out"
        typer.echo(f"energy     {energy['networks']} networks by {energy['meter']}, {energy['scope']}: {told}")
    typer.echo(f"rows       {rows}")
    typer.echo(f"predictor  {path}")


def search_of(device: str, profile: DeviceProfile, target: Target) -> str:
    """What searches for a target that a plain search does not choose; empty for one that it does."""
    options = [] if target.runtime == profile.default.runtime else ["--runtime", target.runtime]
    options += [] if target.precision == "fp32" else ["--precision", "fp32", "--precision", target.precision]
    options += [] if target.threads == profile.default.threads else ["--threads", str(target.threads)]
    return shlex.join(["nas", "search", "--device", device, *options]) if options else ""


def _energy(profile: DeviceProfile, target: Target) -> dict[str, float | str] | None:
    """What is known of the target's joules; None where none were measured."""
    from nas.hardware.energy_file import load_energy

    path = profile.energy_path(target)
    if not path.is_file():
        return None
    found = load_energy(path)
    quality = dict(found.model.quality)
    return {
        "networks": found.model.measurements, "scope": found.scope, "meter": found.meter, "source": "measured",
        "out_of_fold_mape": quality["out_of_fold_mape"], "half_width": found.model.half_width, "predictor": str(path),
    }  # fmt: skip


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(measure)
