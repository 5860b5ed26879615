"""Measures networks on a device and fits its predictor. A crash loses nothing that was measured; nothing is measured twice."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from nas.architecture import BlockSpec
from nas.config import MeasureProtocol
from nas.errors import DisturbedError, InputError, TargetError
from nas.hardware.choosing import choose
from nas.hardware.device_state import pinned
from nas.hardware.features import network_features
from nas.hardware.fitting import fit, shape_ranges
from nas.hardware.identity import check_identity
from nas.hardware.measure import measure
from nas.hardware.newcomer import copy_shipped
from nas.hardware.predictor import LatencyPredictor
from nas.hardware.profile import DeviceProfile
from nas.hardware.rows import Row, append_row, labels_s, make_row, network_hash, read_rows, rows_path, runs_path, write_runs
from nas.hardware.runtimes.loading import load_runtime
from nas.hardware.session import Measured, Session
from nas.hardware.transports.base import Transport
from nas.hardware.transports.local import LocalTransport
from nas.metrics import Metric
from nas.target import Target

__all__ = ["Row", "calibrate", "choose", "fit_rows", "measure_model", "network_hash", "read_rows", "rows_path"]

MIN_NETWORKS = 4

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
) -> LatencyPredictor:
    """Measures networks on a device, appends them to the profile's measurements, and fits the target's predictor to all of them.

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

    Raises:
        InputError: fewer than 4 networks, a precision that the runtime there does not run, or a device of another architecture.
        ProfileError: an earlier row that cannot be used, without `skip_bad`.
        TargetError: a run failed. What was measured before is kept.
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
        missing = {name: blocks for name, blocks in wanted.items() if name not in {row.network for row in rows}}
        if missing:
            save = _saver(folder, target, profile)
            _measure(session, target, wanted, missing, _anchor(rows, wanted, prior), export, protocol, save, tell, note)
    tell(len(wanted), len(wanted), "fit")
    rows = read_rows(path, target, _quiet if skip_bad else None)
    return fit_rows([row for row in rows if row.runtime_version == version], target, prior)


def _anchor(rows: Sequence[Row], wanted: Mapping[str, Blocks], prior: LatencyPredictor) -> Blocks:
    """The anchor of what was measured before where its blocks are known, so that all labels share one; else a network of middle size."""
    known = {**{row.network: row.specs() for row in rows}, **wanted}
    for row in reversed(rows):
        if row.anchor in known:
            return known[row.anchor]
    return sorted(wanted.values(), key=lambda blocks: prior.predict(blocks).value)[len(wanted) // 2]


Save = Callable[[str, Blocks, str, Measured], None]


def _saver(folder: Path, target: Target, profile: DeviceProfile | None) -> Save:
    """Writes a measured network: its hash, its blocks, its anchor's hash, and what was measured."""

    def save(network: str, blocks: Blocks, anchor: str, measured: Measured) -> None:
        if profile is not None:
            copy_shipped(profile, folder)
        write_runs(runs_path(folder, target, network, measured.version), measured)
        append_row(rows_path(folder, target), make_row(network, blocks, anchor, target, measured))

    return save


def _measure(
    session: Session, target: Target, wanted: Mapping[str, Blocks], missing: Mapping[str, Blocks], anchor_blocks: Blocks,
    export: Export, protocol: MeasureProtocol, save: Save, tell: Callable[[int, int, str], None], note: Callable[[str], None],
) -> None:  # fmt: skip
    """Measures what is missing, each network saved before the next begins."""
    done = len(wanted) - len(missing)
    tell(done, len(wanted), "anchor")
    name = network_hash(anchor_blocks)
    with tempfile.TemporaryDirectory(prefix="nas-measure-") as temporary:
        anchor = Path(temporary) / "anchor.onnx"
        export(anchor_blocks, anchor)
        _check_inspection(session, anchor, target, note)
        for network, blocks in missing.items():
            tell(done, len(wanted), network)
            model = Path(temporary) / f"{network}.onnx"
            export(blocks, model)
            job = _job_name(target, network, name, protocol)
            try:
                measured = session.measure(job, model, anchor, target, protocol)
                reason = _other_precision(measured.precision, target)
            except DisturbedError as exc:
                reason = f"{exc}; measuring again later tries it again"
            if reason:
                note(f"network {network} is left out: {reason}")
            else:
                save(network, blocks, name, measured)
            session.forget(job, model)
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
    how = hashlib.sha256(protocol.model_dump_json().encode()).hexdigest()[:8]
    return f"{target.key} {network} {anchor} {how}"


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


def measure_model(path: Path, target: Target, protocol: MeasureProtocol) -> Metric:
    """Latency of one model file on this machine with the target's runtime and threads, source "measured".

    The median over the raw medians of separated windows, low and high the extreme ones: no anchor stands between them, so a drift of the
    machine is in it.
    """
    with pinned(target.threads), load_runtime(target.runtime).open(path, target.threads) as run:
        windows_s = measure(run, protocol).labels_s()
    return Metric(float(np.median(windows_s)), "s", "measured", low=min(windows_s), high=max(windows_s))


def _silent(done: int, total: int, what: str) -> None:
    """Progress that nobody asked for."""
    del done, total, what


def _quiet(text: str) -> None:
    """A note that nobody asked for."""
    del text
