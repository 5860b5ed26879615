"""Measures networks on a device and fits its predictor. A crash loses nothing that was measured; nothing is measured twice."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from nas.architecture import BlockSpec
from nas.config import EnergyProtocol, MeasureProtocol
from nas.errors import DisturbedError, InputError, MeterError, ModelFileError, TargetError
from nas.hardware.energy import EnergyPredictor, fit_energy
from nas.hardware.features import network_features
from nas.hardware.fitting import fit, shape_ranges
from nas.hardware.identity import check_identity
from nas.hardware.metering import Metering, choose_meter, meter_identity
from nas.hardware.newcomer import copy_shipped
from nas.hardware.predictor import LatencyPredictor
from nas.hardware.profile import DeviceProfile
from nas.hardware.rows import Row, append_row, labels_s, make_row, network_hash, read_rows, rows_path, runs_path, with_energy, write_runs
from nas.hardware.session import Measured, RefusedError, Session
from nas.hardware.transports.base import Transport
from nas.hardware.transports.local import LocalTransport
from nas.target import Target

__all__ = ["MIN_NETWORKS", "calibrate", "fit_energy_rows", "fit_rows"]

MIN_NETWORKS = 4
MOST_REFUSED = 5
"""Networks in a row that a device refuses before the measuring ends: then it is not the networks that are wrong."""

Blocks = Sequence[BlockSpec]
Export = Callable[[Blocks, Path], None]


def calibrate(
    folder: Path,
    target: Target,
    networks: Sequence[Blocks],
    export: Export,
    protocol: MeasureProtocol,
    prior: LatencyPredictor,
    on_progress: Callable[[int, int, str], None] | None = None,
    transport: Transport | None = None,
    on_note: Callable[[str], None] | None = None,
    profile: DeviceProfile | None = None,
    skip_bad: bool = False,
    metering: Metering | None = None,
) -> tuple[LatencyPredictor, str]:
    """Measures networks on a device, appends them to the profile's measurements, and fits the target's predictor to all of them that are of
    the runtime's version there. The predictor, and that version.

    Args:
        folder: of the user's profile, see `own_profile`.
        target: where; its runtime's version is what the device says.
        networks: to measure; those in the measurements already are not measured again.
        export: writes the model file of a network, in the target's precision.
        protocol: how to measure; the threads are the target's.
        prior: what the fit is pulled toward.
        on_progress: called with networks done, all of them, and what is being done.
        transport: to the device; this machine by default.
        on_note: told what is worth knowing: operators that do not run natively, networks left out, connections made again.
        profile: what the device is checked against; where it is a shipped one, it is copied to `folder` before the first row is written.
        skip_bad: leave out earlier rows that cannot be used, and note them.
        metering: how energy is measured too, of networks whose rows have none, or have another meter's than the one that it names; None
            for not at all. A meter that fails on the way is noted, and costs energies only.

    Raises:
        InputError: fewer than 4 networks, a precision that the runtime there does not run, or a device of another architecture.
        ProfileError: an earlier row that cannot be used, without `skip_bad`.
        ModelFileError, TargetError: the device cannot run the anchor, or five networks in a row; or it is not reached any more. What was
            measured before is kept.
        MeterError: the energy meter that was asked for does not work there.
    """
    wanted = {network_hash(blocks): blocks for blocks in networks}
    path = rows_path(folder, target)
    tell, note = on_progress or _silent, on_note or _quiet
    rows = read_rows(path, target, note if skip_bad else None)
    if len({*wanted, *(row.network for row in rows)}) < MIN_NETWORKS:
        raise InputError(f"a calibration needs at least {MIN_NETWORKS} different networks, got {len(wanted)}")
    protocol = protocol.model_copy(update={"threads": target.threads})
    with Session(transport or LocalTransport(), note) as session:
        if profile is not None and (doubt := check_identity(profile.name, profile.chip, session.facts())):
            note(doubt)
        version = session.version(target.runtime, target.precision)
        rows = [row for row in rows if row.runtime_version == version]
        meter = choose_meter(session, metering, note)
        known = {row.network: row for row in rows}
        done = {row.network for row in rows if meter is None or _is_metered(row, metering)}
        missing = {name: blocks for name, blocks in wanted.items() if name not in done}
        if missing:
            job = _Job(session, target, export, protocol, _saver(folder, target, profile), note, metering, meter)
            _measure(job, wanted, missing, known, _anchor(rows, wanted, prior), tell, folder)
    tell(len(wanted), len(wanted), "fit")
    rows = read_rows(path, target, _quiet if skip_bad else None)
    return fit_rows([row for row in rows if row.runtime_version == version], target, prior), version


def _is_metered(row: Row, metering: Metering | None) -> bool:
    """Whether a row has joules, of the meter that was asked for where one was named."""
    return row.energy_j is not None and not (metering and metering.is_other_than(row.energy_meter))


def _anchor(rows: Sequence[Row], wanted: Mapping[str, Blocks], prior: LatencyPredictor) -> Blocks:
    """The anchor of what was measured before where its blocks are known, so that all labels share one; else a network of middle size."""
    known = {**{row.network: row.specs() for row in rows}, **wanted}
    for row in reversed(rows):
        if row.anchor in known:
            return known[row.anchor]
    return sorted(wanted.values(), key=lambda blocks: prior.predict(blocks).value)[len(wanted) // 2]


Save = Callable[[str, Blocks, str, Measured], Row]


def _saver(folder: Path, target: Target, profile: DeviceProfile | None) -> Save:
    """Writes a measured network: its hash, its blocks, its anchor's hash, and what was measured."""

    def save(network: str, blocks: Blocks, anchor: str, measured: Measured) -> Row:
        if profile is not None:
            copy_shipped(profile, folder)
        write_runs(runs_path(folder, target, network, measured.version), measured)
        row = make_row(network, blocks, anchor, target, measured)
        append_row(rows_path(folder, target), row)
        return row

    return save


@dataclasses.dataclass
class _Job:
    """What measuring one network takes. `meter` becomes None where it fails on the way; `refused` counts networks in a row."""

    session: Session
    target: Target
    export: Export
    protocol: MeasureProtocol
    save: Save
    note: Callable[[str], None]
    metering: Metering | None
    meter: str | None
    refused: int = 0

    def latency(self, network: str, blocks: Blocks, model: Path, anchor: Path, anchor_name: str) -> Row | None:
        """Measures and saves; None where it is left out, which is noted."""
        job = _job_name(self.target, network, anchor_name, self.protocol)
        row = None
        try:
            measured = self.session.measure(job, model, anchor, self.target, self.protocol)
            reason = _other_precision(measured.precision, self.target)
            self.refused = 0
        except DisturbedError as exc:
            reason = f"{exc}; measuring again later tries it again"
        except (ModelFileError, RefusedError) as exc:
            self.refused += 1
            if self.refused == MOST_REFUSED:
                raise
            reason = str(exc)
        if reason:
            self.note(f"network {network} is left out: {reason}")
        else:
            row = self.save(network, blocks, anchor_name, measured)
            if row.warning:
                self.note(f"network {network}: {row.warning}")
        self.session.forget(job, model)
        return row

    def energy(self, row: Row, model: Path, folder: Path) -> None:
        """Meters a network that has a row, in a run of its own, and adds it to the row."""
        if self.meter is None or self.metering is None:
            return
        name = f"{self.target.key} {row.network} energy {self.meter} {_digest(self.metering.protocol)}"
        try:
            found = self.session.measure_energy(name, model, self.target, self.metering.protocol, self.meter, self.metering.most_w)
            append_row(rows_path(folder, self.target), with_energy(row, found))
            if found.warning:
                self.note(f"network {row.network}: {found.warning}")
        except MeterError as exc:
            self.note(f"energy is not metered any more: {exc}")
            self.meter = None
        except DisturbedError as exc:
            self.note(f"network {row.network} has no energy: {exc}; measuring again later tries it again")
        self.session.forget(name, model)


def _measure(
    job: _Job, wanted: Mapping[str, Blocks], missing: Mapping[str, Blocks], known: Mapping[str, Row], anchor_blocks: Blocks,
    tell: Callable[[int, int, str], None], folder: Path,
) -> None:  # fmt: skip
    """Measures what is missing, each network saved before the next begins."""
    done = len(wanted) - len(missing)
    tell(done, len(wanted), "anchor")
    name = network_hash(anchor_blocks)
    with tempfile.TemporaryDirectory(prefix="nas-measure-") as temporary:
        anchor = Path(temporary) / "anchor.onnx"
        job.export(anchor_blocks, anchor)
        _check_inspection(job.session, anchor, job.target, job.note)
        for network, blocks in missing.items():
            tell(done, len(wanted), network)
            model = Path(temporary) / f"{network}.onnx"
            job.export(blocks, model)
            row = known.get(network) or job.latency(network, blocks, model, anchor, name)
            if row is not None:
                job.energy(row, model, folder)
            model.unlink()
            done += 1


def _check_inspection(session: Session, anchor: Path, target: Target, note: Callable[[str], None]) -> None:
    """Before anything is timed: what will not run natively, and whether the precision is the one asked for."""
    found = session.inspect(anchor, target)
    if reason := _other_precision(found.precision, target):
        raise TargetError(f"{reason}: measure --precision {found.precision}")
    if found.foreign:
        note(f"{target.runtime} does not run natively: {', '.join(found.foreign)}")


def _other_precision(used: str, target: Target) -> str:
    return "" if used == target.precision else f"{target.runtime} runs it in {used}, not in {target.precision}"


def _job_name(target: Target, network: str, anchor: str, protocol: MeasureProtocol) -> str:
    return f"{target.key} {network} {anchor} {_digest(protocol)}"


def _digest(protocol: MeasureProtocol | EnergyProtocol) -> str:
    return hashlib.sha256(protocol.model_dump_json().encode()).hexdigest()[:8]


def fit_rows(rows: Sequence[Row], target: Target, prior: LatencyPredictor) -> LatencyPredictor:
    """A predictor from measured rows of one target.

    Raises:
        InputError: fewer than the fit can stand.
    """
    if len(rows) < MIN_NETWORKS:
        raise InputError(f"{len(rows)} networks are measured on {target.key}, a fit needs at least {MIN_NETWORKS}: nas measure adds some")
    networks = [row.specs() for row in rows]
    return fit(
        np.array([network_features(blocks) for blocks in networks]),
        labels_s(rows),
        dataclasses.replace(prior, threads=target.threads, speedup=None),
        shape_ranges(networks),
        source=f"{len(rows)} networks measured here with {target.runtime} {rows[0].runtime_version}, {target.threads} thread(s)",
    )


def fit_energy_rows(
    rows: Sequence[Row], target: Target, prior: LatencyPredictor, on_note: Callable[[str], None] | None = None
) -> EnergyPredictor | None:
    """An energy predictor from the rows with joules of the scope and meter of the last one; None where there are too few.

    Args:
        rows: in the order of their file: one that was metered again is the last.
        on_note: told how many rows are left out.
    """
    metered = [row for row in rows if row.energy_j is not None]
    if not metered:
        return None
    scope, meter = metered[-1].energy_scope, meter_identity(metered[-1].energy_meter)
    same = [row for row in metered if (row.energy_scope, meter_identity(row.energy_meter)) == (scope, meter)]
    if len(same) < len(metered):
        left = f"joules of {len(metered) - len(same)} network(s) are left out of the energy fit"
        (on_note or _quiet)(f"{left}: they are not by {meter}, {scope}, as those of the {len(same)} that were metered last")
    if len(same) < MIN_NETWORKS:
        return None
    runtime = f"{target.runtime} {metered[-1].runtime_version}, {target.threads} thread(s)"
    source = f"{len(same)} networks metered with {runtime}, by {meter}: {scope}"
    energy_j = np.array([row.energy_j for row in same], dtype=np.float64)
    prior = dataclasses.replace(prior, threads=target.threads, speedup=None)
    return fit_energy([row.specs() for row in same], energy_j, labels_s(same), prior, scope, meter, source)


def _silent(done: int, total: int, what: str) -> None:
    """Progress that nobody asked for."""
    del done, total, what


def _quiet(text: str) -> None:
    """A note that nobody asked for."""
    del text
