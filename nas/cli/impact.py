"""nas impact: what a choice costs in electricity, CO2 and battery life."""

from __future__ import annotations

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
    compared, note = _baseline(named[record.device], known[0], baseline or "mobilenet_v2", use, profile)
    notes = [*note, *impact_notes(found, use, compared), *battery_notes([*found, *([] if compared is None else [compared])])]
    if plot is not None:
        from nas.files import write_atomic
        from nas.report.impact_figure import impact_png

        write_atomic(plot, impact_png(found, compared, use, record.device, pruned))
    if as_json:
        emit({
            "schema": 1, "study": record.study, "device": record.device, "inferences_per_day": use.inferences_per_day,
            "battery_wh": use.battery_wh, "grid": use.grid.to_dict(), "impacts": [each.to_dict() for each in found], "pruned": pruned,
            "baseline": None if compared is None else compared.to_dict(), "notes": notes, "plot": None if plot is None else str(plot),
        })  # fmt: skip
        return
    _print(found, compared, use, notes, pruned)
    if plot is not None:
        typer.echo(f"picture   {plot}")


def _baseline(device: str, like: CandidateRecord, model: str, use: Use, profile: DeviceProfile) -> tuple[Impact | None, list[str]]:
    """The baseline on the target of a candidate, and what to say of it; none where its energy is not known."""
    from nas.prediction import network_of, predict_network
    from nas.report.impact import impact_of

    target = like.candidate.target
    found = predict_network(network_of(model), device, target.runtime, target.precision, target.threads)
    energy = found.metrics.get("energy_j")
    if energy is None:
        return None, [f"the energy of the baseline {model} is not known"]
    first = f"baseline {model} at its own resolution, {target.key}"
    notes = [first if found.in_range else f"{first}; it is unlike what was measured, its band is wide"]
    if energy.scope != like.candidate.metrics["energy_j"].scope:
        notes.append(f"joules of the baseline are of {energy.scope}, those of the study of {like.candidate.metrics['energy_j'].scope}")
    return impact_of(model, energy, found.metrics["latency_s"], use, profile.power), notes


def _print(found: list[Impact], compared: Impact | None, use: Use, notes: list[str], pruned: list[str]) -> None:
    from nas.cli.show import Column, print_table

    columns = [Column("candidate"), Column("mJ", right=True), Column("kWh a year", right=True), Column("kg CO2e a year", right=True)]
    if compared is not None:
        columns.append(Column("of baseline", right=True, rank=1))
    if use.battery_wh is not None:
        columns += [Column(f"days on {use.battery_wh:g} Wh", right=True, rank=2), Column("always on", right=True, rank=3)]
    rows = []
    for each in [*found, *([compared] if compared is not None else [])]:
        row = [
            f"{each.name} (pruned)" if each.name in pruned else each.name,
            f"{1e3 * each.energy.value:.3g}",
            _text(each.kwh_year),
            _text(each.co2e_kg_year),
        ]
        if compared is not None:
            row.append(f"{each.energy.value / compared.energy.value:.1%}")
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
