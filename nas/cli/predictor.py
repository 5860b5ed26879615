"""nas predictor: the latency predictor of a target, from the measurements at hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import DeviceOption, JsonOption, PrecisionOption, RuntimeOption, ThreadsOption, emit

if TYPE_CHECKING:
    from nas.hardware.profile import DeviceProfile
    from nas.hardware.rows import Row
    from nas.target import Target

__all__ = ["register"]

predictors = typer.Typer(
    help="Latency predictors: fit, evaluate, show.\n\nExample: nas predictor evaluate --device host",
    no_args_is_help=True,
)
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave rows out that cannot be used, and name them; they are an error without.")]
SHOWN = {
    "mape": ("mean absolute error", "{:.1%}"),
    "within_5_percent": ("within ±5 %", "{:.0%}"),
    "within_10_percent": ("within ±10 %", "{:.0%}"),
    "spearman": ("Spearman", "{:.3f}"),
    "kendall": ("Kendall", "{:.3f}"),
    "band_coverage": ("inside the 90 % band", "{:.0%}"),
    "band_half_width": ("half-width of the band", "{:.1%}"),
}
"""Figures of an evaluation: what people read, and how."""
NOT_RANKED = "not defined: all latencies are equal"


def _measured(
    device: str, runtime: str | None, precision: str | None, threads: int | None, skip_bad: bool
) -> tuple[DeviceProfile, Target, list[Row]]:
    """The rows of the target's newest runtime version, and what is told of the others.

    Raises:
        InputError: none at all.
        UnknownNameError: nor does the profile know the runtime.
    """
    import dataclasses

    from nas.errors import InputError, UnknownNameError
    from nas.hardware.profile import load_profile
    from nas.hardware.rows import newest_rows, read_rows, rows_path
    from nas.measuring import target_to_measure

    profile = load_profile(device)
    target = target_to_measure(profile, runtime, precision, threads)
    path = rows_path(profile.folder, target)
    rows = read_rows(path, target, (lambda text: typer.echo(text, err=True)) if skip_bad else None)
    if not rows:
        if target.runtime not in profile.runtimes:
            raise UnknownNameError(f"runtime of {device}", target.runtime, profile.runtimes)
        raise InputError(f"nothing was measured on {target.key} yet ({path} has no rows): nas measure --device {device}")
    kept = newest_rows(rows)
    newest = kept[0].runtime_version
    if len(kept) < len(rows):
        typer.echo(f"{len(rows) - len(kept)} rows of other versions of {target.runtime} than {newest} are left out", err=True)
    return profile, dataclasses.replace(target, runtime_version=newest), kept


@predictors.command("fit")
def fit_predictor(
    device: DeviceOption, runtime: RuntimeOption = None, precision: PrecisionOption = None, threads: ThreadsOption = None,
    skip_bad: SkipBad = False, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Fits a target's predictor to its measurements.

    Example: nas predictor fit --device host
    """
    from nas.hardware.calibrate import fit_rows
    from nas.hardware.predictor_file import save_predictor
    from nas.measuring import refit_energy

    profile, target, rows = _measured(device, runtime, precision, threads, skip_bad)
    fitted = fit_rows(rows, target, profile.prior_to_fit(target))
    path = profile.predictor_path(target)
    save_predictor(fitted, path)
    energy = refit_energy(profile, target, profile.prior_to_fit(target), lambda text: typer.echo(text, err=True))
    if as_json:
        emit({
            "schema": 1, "target": target.to_dict(), "measurements": fitted.measurements, "half_width": fitted.half_width,
            "quality": dict(fitted.quality), "corrected": fitted.correction is not None, "predictor": str(path),
        })  # fmt: skip
        return
    typer.echo(f"fitted     {fitted.measurements} networks on {target.key}")
    for name, value in fitted.quality:
        typer.echo(f"{name.replace('_', ' '):<26} {value:.4g}")
    typer.echo(f"predictor  {path}")
    if energy is not None:
        typer.echo(f"energy     {energy.model.source}   {profile.energy_path(target)}")


@predictors.command("evaluate")
def evaluate(
    device: DeviceOption, runtime: RuntimeOption = None, precision: PrecisionOption = None, threads: ThreadsOption = None,
    skip_bad: SkipBad = False,
    plot: Annotated[Path | None, typer.Option(help="Write predicted against measured as a PNG picture.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Held-out error: ten-fold cross-validation.

    Below ten networks one a fold. Every fold decides anew whatever a fit decides: a little more error than nas measure and a report tell,
    whose fit chose its ridge by those very folds. The band is that inside the measured range. The picture shows predicted against measured.

    Example: nas predictor evaluate --device host --plot host.png
    """
    import numpy as np

    from nas.hardware.evaluation import cross_validate
    from nas.hardware.features import network_features
    from nas.hardware.rows import labels_s

    profile, target, rows = _measured(device, runtime, precision, threads, skip_bad)
    found = cross_validate(np.array([network_features(row.specs()) for row in rows]), labels_s(rows), profile.prior_to_fit(target))
    if plot is not None:
        from nas.files import write_atomic
        from nas.report.predicted import predicted_png

        write_atomic(plot, predicted_png(found, f"{target.key}: {len(rows)} networks"))
    summary = found.summary()
    if as_json:
        emit(
            {
                "schema": 1,
                "target": target.to_dict(),
                "networks": len(rows),
                "held_out": summary,
                "plot": None if plot is None else str(plot),
            }
        )
        return
    typer.echo(f"{target.key}, {target.runtime} {target.runtime_version}: {len(rows)} networks, each predicted without having seen it")
    for name, value in summary.items():
        label, form = SHOWN[name]
        typer.echo(f"  {label:<24} {NOT_RANKED if value is None else form.format(value)}")
    if plot is not None:
        typer.echo(f"  {'plot':<24} {plot}")


@predictors.command("show")
def show(
    device: DeviceOption, runtime: RuntimeOption = None, precision: PrecisionOption = None, threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """The predictor of a target: source, band, coefficients.

    Example: nas predictor show --device raspberrypi4
    """
    import math

    from nas.hardware.features import FEATURES
    from nas.hardware.predictor_file import predictor_to_dict
    from nas.hardware.profile import load_profile

    profile = load_profile(device)
    target = profile.target(runtime, precision, threads)
    predictor = profile.predictor(target)
    if as_json:
        emit({"schema": 1, "target": target.to_dict(), "predictor": predictor_to_dict(predictor)})
        return
    typer.echo(f"{target.key}: {predictor.source}")
    typer.echo(f"  {'measurements':<28} {predictor.measurements}")
    typer.echo(f"  {'90 % band':<28} x/÷ {math.exp(predictor.half_width):.3g}")
    typer.echo(f"  {'correction':<28} {'none' if predictor.correction is None else f'up to {math.expm1(predictor.correction.limit):.1%}'}")
    for name, value in predictor.quality:
        typer.echo(f"  {name.replace('_', ' '):<28} {value:.4g}")
    for name, low, high in predictor.ranges:
        typer.echo(f"  {'measured ' + name:<28} {low:g} to {high:g}")
    typer.echo("  seconds per unit")
    for name, seconds, origin in zip(FEATURES, predictor.coefficients, predictor.origins, strict=True):
        unseen = ", in no measured network" if predictor.measurements and name in predictor.unseen else ""
        typer.echo(f"    {name:<26} {seconds:.3g}   [{origin}{unseen}]")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(predictors, name="predictor")
