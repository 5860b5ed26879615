"""nas impact: what a choice costs in electricity, CO2 and battery life."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import JsonOption, RunsOption, StudyArgument, emit
from nas.cli.results import DeviceChoice
from nas.errors import InputError

if TYPE_CHECKING:
    from nas.hardware.profile import DeviceProfile
    from nas.report.front import CandidateRecord
    from nas.report.impact import Band, Impact, Use
    from nas.target import Target

__all__ = ["register"]


def impact(
    runs: RunsOption,
    study: StudyArgument = None,
    inferences_per_day: Annotated[
        float, typer.Option("--inferences-per-day", metavar="N", help="Of all devices together, e.g. 1e6.")
    ] = 1e6,
    grid: Annotated[
        str, typer.Option(metavar="CODE", help="Country of the electricity, ISO 3166: FR, DEU; WORLD for the average.")
    ] = "WORLD",
    baseline: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Reference name, architecture .json or .onnx to compare with.", show_default="mobilenet_v2"),
    ] = None,
    battery: Annotated[
        float | None,
        typer.Option("--battery", metavar="WH", help="Capacity of a battery, Wh, that each day's inferences drain.", show_default=False),
    ] = None,
    candidate: Annotated[str | None, typer.Option("--pick", "--id", metavar="ID", help="Id, or its beginning.", show_default=False)] = None,
    device: DeviceChoice = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a picture: .png.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """kWh, CO2 and battery life of a study's choices in use.

    Of its finalists, or of its front where it has none yet, against a baseline on the same target.

    Example: nas impact --inferences-per-day 1e6 --grid FR --battery 40
    """
    from nas.cli.picking import find_candidate
    from nas.hardware.profile import load_profile
    from nas.report.grid import load_grid
    from nas.report.impact import Use, battery_notes, impact_notes, impact_of
    from nas.report.record import read_front, study_folder
    from nas.report.study import load_config

    if plot is not None and plot.suffix != ".png":
        raise InputError(f"--plot takes a file that ends in .png, got {plot}")
    use = Use(inferences_per_day, load_grid(grid), battery)
    folder = study_folder(runs, study)
    record = read_front(folder, device)
    named = {load_profile(name).name: name for name in load_config(folder)[0].devices}
    if record.device not in named:
        raise InputError(
            f"{record.device} stands for several devices, whose boards differ: an impact is of one; search for it alone, "
            f"e.g. nas search --device {next(iter(named))}"
        )
    profile = load_profile(named[record.device])
    chosen = [find_candidate(record, candidate)] if candidate is not None else list(record.finalists or record.front)
    known = [each for each in chosen if "energy_j" in each.candidate.metrics]
    if not known:
        raise InputError(f"the energy of study {record.study} is not known: the profile of {record.device} has no power data")
    found = [
        impact_of(each.id, each.candidate.metrics["energy_j"], each.candidate.metrics["latency_s"], use, profile.power) for each in known
    ]
    pruned = [each.id for each in known if each.pruned]
    targets = [each.candidate.target for each in known]
    together = list(dict.fromkeys(each.candidate.target for each in record.candidates))
    compared, told = _baselines(named[record.device], known, together, baseline or "mobilenet_v2", use, profile)
    every = tuple(compared.values())
    notes = [*told, *impact_notes(found, use, every), *battery_notes([*found, *every])]
    if plot is not None:
        from nas.files import write_atomic
        from nas.report.impact_figure import impact_png

        write_atomic(plot, impact_png(found, every, use, record.device, pruned))
    if as_json:
        emit({
            "schema": 1, "study": record.study, "device": record.device, "inferences_per_day": use.inferences_per_day,
            "battery_wh": use.battery_wh, "grid": use.grid.to_dict(),
            "impacts": [{"target": target.key, **each.to_dict()} for target, each in zip(targets, found, strict=True)], "pruned": pruned,
            "baselines": [{"target": target.key, **each.to_dict()} for target, each in compared.items()], "notes": notes,
            "plot": None if plot is None else str(plot),
        })  # fmt: skip
        return
    _print(list(zip(targets, found, strict=True)), compared, use, notes, pruned)
    if plot is not None:
        typer.echo(f"picture   {plot}")


def _baselines(
    device: str, chosen: Sequence[CandidateRecord], together: Sequence[Target], model: str, use: Use, profile: DeviceProfile
) -> tuple[dict[Target, Impact], list[str]]:
    """The baseline on each of the candidates' targets where its energy is known there in their scope, and what to say of it.

    Args:
        together: targets of the whole study: its joules have one scope.
    """
    from nas.prediction import network_of, predict_network
    from nas.report.impact import impact_of

    network = network_of(model)
    first: dict[Target, CandidateRecord] = {}
    for each in chosen:
        first.setdefault(each.candidate.target, each)
    compared: dict[Target, Impact] = {}
    notes: list[str] = []
    for target, like in first.items():
        found = predict_network(network, device, target.runtime, target.precision, target.threads, together)
        energy, scope = found.metrics.get("energy_j"), like.candidate.metrics["energy_j"].scope
        if energy is None:
            notes.append(f"the energy of the baseline {model} is not known on {target.key}")
            continue
        if energy.scope != scope:
            notes.append(f"not compared on {target.key}: joules of the baseline are of {energy.scope}, those of the study of {scope}")
            continue
        told = f"baseline {model} at its own resolution, {target.key}"
        notes.append(told if found.in_range else f"{told}; it is unlike what was measured, its band is wide")
        name = model if len(first) == 1 else f"{model} on {target.key}"
        compared[target] = impact_of(name, energy, found.metrics["latency_s"], use, profile.power)
    return compared, list(dict.fromkeys(notes))


def _print(
    found: Sequence[tuple[Target, Impact]], compared: Mapping[Target, Impact], use: Use, notes: Sequence[str], pruned: Sequence[str]
) -> None:
    """A line a network, each beside the baseline on its own target."""
    from nas.cli.show import Column, print_table
    from nas.report.units import digits

    columns = [Column("candidate"), Column("mJ", right=True), Column("kWh a year", right=True), Column("kg CO2e a year", right=True)]
    if is_several := len({target for target, _ in found}) > 1:
        columns.insert(1, Column("target"))
    if compared:
        columns.append(Column("of baseline", right=True, rank=1))
    if use.battery_wh is not None:
        columns += [Column(f"days on {use.battery_wh:g} Wh", right=True, rank=2), Column("always on", right=True, rank=3)]
    rows = []
    for target, each in [*found, *compared.items()]:
        name = each.name.removesuffix(f" on {target.key}")  # of a baseline; the column says it
        row = [f"{name} (pruned)" if name in pruned else name, *([target.key] if is_several else [])]
        row += [digits(1e3 * each.energy.value), _text(each.kwh_year), _text(each.co2e_kg_year)]
        if compared:
            row.append(f"{each.energy.value / compared[target].energy.value:.1%}" if target in compared else "unknown")
        if use.battery_wh is not None:
            row += [_text(each.battery_days), _text(each.battery_always_on_days)]
        rows.append(row)
    print_table(columns, rows, all_of_it="nas impact --json")
    for note in notes:
        typer.echo(note)


def _text(band: Band | None) -> str:
    return "unknown" if band is None else band.text()


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(impact)
