"""Measuring for a user: which device, how it is reached, which networks, and the predictor that comes of it."""

from __future__ import annotations

import hashlib
import math
import os
import platform
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nas import plugins
from nas.architecture import BlockSpec
from nas.config import MeasureProtocol
from nas.errors import InputError, StoppedError, UnknownNameError
from nas.events import Event, Listener
from nas.files import locked
from nas.hardware.calibrate import MIN_NETWORKS, calibrate, fit_energy_rows
from nas.hardware.choosing import choose
from nas.hardware.energy import EnergyPredictor
from nas.hardware.energy_file import load_energy, save_energy
from nas.hardware.features import network_features
from nas.hardware.fitting import FEWEST_FOR_BAND
from nas.hardware.identity import check_identity
from nas.hardware.metering import Metering, meter_identity
from nas.hardware.newcomer import own_profile, write_profile
from nas.hardware.predictor import LatencyPredictor
from nas.hardware.predictor_file import save_predictor
from nas.hardware.profile import NAME, DeviceProfile, load_profile, profile_names
from nas.hardware.roofline import roofline
from nas.hardware.rows import Row, read_rows, rows_path
from nas.hardware.session import Session, open_transport
from nas.space import SearchSpace
from nas.target import Target

__all__ = [
    "HOST",
    "LOCAL",
    "Blocks",
    "ask",
    "band_note",
    "choose_networks",
    "measure_networks",
    "measuring_s",
    "quality_text",
    "reach",
    "refit_energy",
    "target_to_measure",
]

HOST = "host"
"""Name of the device that is this machine."""
LOCAL = "local"
_CLOCK_HZ = 3.5e9
"""Of this machine, for the choice of networks, where it tells none but that of the moment: the same command must choose the same ones."""
ANCHORED, OPENING_S = 1.5, 1.0
"""Of a network that is measured: its windows with those of the anchor, over its own, and seconds to make its file, open it and warm up (one
busy machine: 1.5 to 2.4 s a network in all, by the default protocol)."""
POOL = 400
"""Random networks of the space that the measured ones are chosen from."""

Blocks = tuple[BlockSpec, ...]


def reach(device: str, via: str | None, tell: Callable[[str], None]) -> tuple[DeviceProfile, str]:
    """The profile and the address; asks a device without a profile what it is. Nothing is connected to one that has a profile.

    Args:
        via: "local", ssh://user@host, or None: this machine where the device is `host`.

    Raises:
        UnknownNameError: no such device, and no way to one.
        InputError: a known device without a way to it, or `host` by another way than local.
        TargetError: it cannot be reached, or lacks what the runner needs.
    """
    try:
        profile = load_profile(device)
    except UnknownNameError as exc:
        if via is None:
            raise UnknownNameError(
                "device",
                device,
                exc.nearest or profile_names(),
                hint="(a new device needs --via ssh://user@host, or --via local on itself)",
            ) from exc
        with Session(open_transport(via, _asking(device)), tell) as session:
            profile = write_profile(device, session.facts(), session.hello)
        tell(f"{device} is new: what it says of itself is in {profile.folder / 'profile.yaml'}")
    if via is None and profile.name != HOST:
        raise InputError(f"how is {device} reached? --via ssh://user@host, or --via local on the device itself")
    if profile.name == HOST and via not in (None, LOCAL):
        raise InputError(f"host is this machine: give the device at {via} a name of its own, e.g. --device mychip")
    open_transport(via or LOCAL, _asking(device))  # an address that is none is refused here
    return profile, via or LOCAL


def ask(profile: DeviceProfile, address: str, tell: Callable[[str], None]) -> dict[str, Any]:
    """What a device says of itself: title, versions of Python and numpy, runtimes with versions and precisions.

    Args:
        profile: of the device; told where what answers may be another one.

    Raises:
        InputError: what answers is of another architecture.
        TargetError: it cannot be reached, or lacks what the runner needs.
    """
    with Session(open_transport(address, _asking(profile.name)), tell) as session:
        facts = session.facts()
        if doubt := check_identity(profile.name, profile.chip, facts):
            tell(doubt)
        return {"title": facts["title"], **{key: session.hello[key] for key in ("python", "numpy", "runtimes")}}


def target_to_measure(profile: DeviceProfile, runtime: str | None, precision: str | None, threads: int | None) -> Target:
    """The target to measure: unlike `DeviceProfile.target`, it need not have a predictor yet.

    Raises:
        UnknownNameError: no runtime of that name.
        InputError: threads that are not 1 to the device's cores.
    """
    runtime = profile.default.runtime if runtime is None else runtime
    known = {*plugins.names("runtimes"), *profile.runtimes}
    # It names files and a key of the profile.
    if not re.fullmatch(NAME, runtime) or not known & {runtime, runtime.split("-", 1)[0]}:
        raise UnknownNameError("runtime", runtime, known)
    threads = profile.default.threads if threads is None else threads
    if not 1 <= threads <= profile.cores:
        raise InputError(f"{profile.name} has {profile.cores} cores: threads must be 1 to {profile.cores}, got {threads}")
    version = profile.runtimes[runtime].version if runtime in profile.runtimes else "unknown"
    return Target(profile.name, runtime, version, precision or profile.default.precision, threads)


def choose_networks(space: SearchSpace, profile: DeviceProfile, n: int, seed: int) -> list[Blocks]:
    """`n` D-optimal picks, spread over latency as the chip's facts foresee it: the same ones whatever was measured before.

    Fewer where the space has fewer. Smallest and largest are always in.
    """
    pool = [space.smallest, space.largest, *space.decode_rows(space.sample_rows(max(POOL, 2 * n), seed))]
    networks = [space.decode(arch) for arch in dict.fromkeys(pool)]
    core = profile.chip.core()
    if profile.name == HOST and profile.chip.clock_hz.kind == "modelled":
        core = replace(core, clock_hz=_CLOCK_HZ)
    expected = roofline(core)
    latency_s = np.array([expected.predict(blocks).value for blocks in networks])
    picks = choose(np.array([network_features(blocks) for blocks in networks]), min(n, len(networks)), latency_s)
    return [networks[pick] for pick in picks]


def measuring_s(protocol: MeasureProtocol, networks: int) -> float:
    """Seconds that measuring so many networks takes where nothing disturbs it and none is so slow that windows are longer."""
    return networks * (ANCHORED * protocol.windows * protocol.window_s + OPENING_S)


def measure_networks(
    profile: DeviceProfile, address: str, target: Target, networks: Sequence[Blocks], protocol: MeasureProtocol, on_event: Listener,
    stop: Callable[[], bool], skip_bad: bool = False, metering: Metering | None = None,
) -> tuple[LatencyPredictor, Target]:  # fmt: skip
    """Measures networks on a device, adds them to what was measured before, fits all of it anew and writes the target's predictor, and
    its energy predictor where joules were measured. The predictor, and the target with the version of the runtime that it is of.

    Args:
        profile: of the device; rows and predictor go to the folder of `own_profile`.
        address: of the device, see `reach`.
        skip_bad: leave out earlier rows that cannot be used, and say so; they are an error without.
        metering: how energy is measured too; None for not at all.

    Raises:
        InputError: another process measures this target; for more see `calibrate`.
        StoppedError: `stop` said so; what was measured is kept.
        TargetError: the device failed; what was measured is kept.
    """
    started = time.monotonic()
    first: list[int] = []

    def progress(done: int, total: int, what: str) -> None:
        if stop():
            raise StoppedError(f"stopped after {done} of {total} networks: all of them are saved, the same command goes on")
        first.append(done)
        new = done - first[0]
        left_s = (time.monotonic() - started) / new * (total - done) if new else None
        on_event(Event("progress", f"{done} of {total} networks measured ({what})", share=done / total, seconds_left=left_s))

    def note(text: str) -> None:
        on_event(Event("warning", text))

    own = own_profile(profile)
    path = rows_path(own.folder, target)
    # Beside the rows, and on this side: on the device a runner of the same key is taken for what a crash left, and ended.
    with locked(path.with_name(f".{path.name}.measuring"), f"{target.key} is being measured by another process: wait until it is done"):
        fitted, version = calibrate(
            own.folder, target, networks, _exporter(target.precision), protocol, profile.prior_to_fit(target), progress,
            open_transport(address, _key(own, target)), note, profile, skip_bad, metering,
        )  # fmt: skip
        target = replace(target, runtime_version=version)
        save_predictor(fitted, own.predictor_path(target))
        refit_energy(own, target, profile.prior_to_fit(target), note)
    return fitted, target


def refit_energy(
    profile: DeviceProfile, target: Target, prior: LatencyPredictor, on_note: Callable[[str], None] | None = None
) -> EnergyPredictor | None:
    """Fits and writes the energy predictor of a target from its rows; None where too few have joules.

    Then a predictor that was made of another version's rows is removed: latency is of this one by now, and joules with it.

    Args:
        profile: of the folder that the rows are in.
        target: with the version of the runtime whose rows count.
        on_note: told how many joules are left out, and what is removed.
    """
    rows = read_rows(rows_path(profile.folder, target), target, lambda _: None)
    version = target.runtime_version
    fitted = fit_energy_rows([row for row in rows if row.runtime_version == version], target, prior, on_note)
    path = profile.energy_path(target)
    if fitted is not None:
        save_energy(fitted, path)
    elif path.is_file() and (why := _outdated(load_energy(path), rows, version)):
        path.unlink()
        if on_note is not None:
            on_note(f"{path.name} is removed: {why}; nas measure with that meter makes it again")
    return fitted


def _outdated(made: EnergyPredictor, rows: Sequence[Row], version: str) -> str:
    """Why an energy predictor does not follow from the rows of a version; empty where it does, or was made of no rows."""
    metered = [row for row in rows if row.energy_j is not None]
    same = [row for row in metered if (row.energy_scope, meter_identity(row.energy_meter)) == (made.scope, made.meter)]
    left = sum(row.runtime_version == version for row in same)
    if not same or left >= MIN_NETWORKS:
        return ""
    known = f"{left} network(s) have joules by {made.meter}, {made.scope}"
    return f"with version {version} of the runtime {known}, and a fit needs {MIN_NETWORKS}"


def quality_text(predictor: LatencyPredictor) -> str:
    """How sure a predictor is, in words."""
    error = dict(predictor.quality).get("out_of_fold_mape")
    told = "nothing held out" if error is None else f"held-out error {error:.1%}"
    return f"{told}, 90 % band x/÷ {math.exp(predictor.half_width):.2f}{band_note(predictor)}"


def band_note(predictor: LatencyPredictor) -> str:
    """What to say behind the band of a fit to too few networks; empty where they are enough, or nothing was fitted."""
    if predictor.measurements >= FEWEST_FOR_BAND or "out_of_fold_mape" not in dict(predictor.quality):
        return ""
    return f" (as before they were measured, or wider: fewer than {FEWEST_FOR_BAND} networks cannot narrow it)"


def _exporter(precision: str) -> Callable[[Sequence[BlockSpec], Path], None]:
    """Writes model files in a precision. Needs torch: says what to install where it is absent."""
    from nas.hardware.export import export_blocks

    if precision != "int8":
        return export_blocks
    from nas.compress.quantize import quantize, random_images

    def export_int8(blocks: Sequence[BlockSpec], path: Path) -> None:
        export_blocks(blocks, path)
        first = blocks[0]
        quantize(path, path, random_images((1, first.in_chs, first.in_size, first.in_size)))

    return export_int8


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _asking(device: str) -> str:
    """Names the folder on a device that is only asked: of this process alone, so that nobody else's runner is ended."""
    return _hash(f"{platform.node()} {os.getpid()} {device}")


def _key(profile: DeviceProfile, target: Target) -> str:
    """Names the measuring on the device: the same for the same command on this machine."""
    return _hash(f"{platform.node()} {profile.folder.resolve()} {target.key}")
