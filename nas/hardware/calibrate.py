"""Measures networks on this machine and fits its predictor. A crash loses one network at most; what is measured is not measured again."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas import plugins
from nas.architecture import BlockSpec
from nas.config import MeasureProtocol
from nas.errors import InputError, ProfileError
from nas.files import write_atomic
from nas.hardware.features import network_features
from nas.hardware.fitting import fit, shape_ranges
from nas.hardware.measure import Measurement, measure, measure_models
from nas.hardware.predictor import LatencyPredictor
from nas.hardware.predictor_file import save_predictor
from nas.hardware.runtimes.base import Runtime
from nas.metrics import Metric
from nas.target import Target

__all__ = ["Row", "calibrate", "choose", "measure_model", "network_hash", "read_rows", "rows_path"]

_MIN_NETWORKS = 4


@dataclass(frozen=True, slots=True)
class Row:
    """A measured network: one line of measurements/<runtime>-<precision>-<threads>t.csv.

    Attributes:
        network: hash of the blocks.
        ratio: latency over the anchor's, median over the windows.
        anchor: hash of the anchor network.
        anchor_s: the anchor's median beside this network, seconds.
        median_s, iqr_s, p90_s, p99_s: of the raw runs.
        windows_s: median of each window, seconds, joined by blanks.
        blocks: the network as JSON, so that the file stands alone.
    """

    network: str
    ratio: float
    anchor: str
    anchor_s: float
    median_s: float
    iqr_s: float
    p90_s: float
    p99_s: float
    runs: int
    windows_s: str
    warning: str
    runtime_version: str
    date: str
    blocks: str

    def specs(self) -> tuple[BlockSpec, ...]:
        return tuple(BlockSpec.from_dict(block) for block in json.loads(self.blocks))


def _blocks_json(blocks: Sequence[BlockSpec]) -> str:
    """The fields that differ from their defaults, as compact JSON."""
    fields = dataclasses.fields(BlockSpec)
    return json.dumps(
        [{f.name: getattr(block, f.name) for f in fields if getattr(block, f.name) != f.default} for block in blocks],
        separators=(",", ":"),
    )


def network_hash(blocks: Sequence[BlockSpec]) -> str:
    """First 12 hex digits of the SHA-256 of the blocks."""
    return hashlib.sha256(_blocks_json(blocks).encode()).hexdigest()[:12]


def rows_path(folder: Path, target: Target) -> Path:
    """Measurements of a target, in its profile's folder."""
    return folder / "measurements" / f"{target.runtime}-{target.precision}-{target.threads}t.csv"


def read_rows(path: Path) -> list[Row]:
    """Rows of a measurements file; none where it is absent.

    Raises:
        ProfileError: other columns, or a value that is no number: file, line and value.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    types = {f.name: {"float": float, "int": int}.get(str(f.type), str) for f in dataclasses.fields(Row)}
    reader = csv.DictReader(lines)
    if lines and reader.fieldnames != list(types):
        raise ProfileError(f"{path}: columns must be {', '.join(types)}, got {', '.join(reader.fieldnames or ())}")
    rows = []
    for number, record in enumerate(reader, start=2):
        try:
            row = Row(**{name: types[name](value) for name, value in record.items()})
            row.specs()
        except (TypeError, ValueError) as exc:
            raise ProfileError(f"{path}: line {number}: {exc}") from exc
        rows.append(row)
    return rows


def _write_rows(path: Path, rows: Sequence[Row]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [f.name for f in dataclasses.fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in rows)
    write_atomic(path, text.getvalue())


def choose(features: NDArray[np.float64], k: int) -> NDArray[np.intp]:
    """Indices of the k networks that tell most about the coefficients, smallest and largest first.

    Greedy D-optimal design: each pick has the largest x' A^-1 x, with A the information so far (Fedorov 1972, Theory of Optimal
    Experiments); columns scaled to their largest value.

    Args:
        features: (n, n_features) of the networks to choose from.
        k: how many, 2 to n.

    Returns:
        (k,), distinct.
    """
    n = len(features)
    if not 2 <= k <= n:
        raise InputError(f"choose 2 to {n} of {n} networks, got {k}")
    largest = np.abs(features).max(axis=0)
    scaled = features / np.where(largest > 0, largest, 1.0)
    size = scaled.sum(axis=1)
    ends = (-size, size)
    inverse = np.eye(features.shape[1]) * 1e3  # a weak prior, so that the first picks are defined
    free = np.ones(n, dtype=bool)
    chosen: list[int] = []
    while len(chosen) < k:
        scores = ends[len(chosen)] if len(chosen) < len(ends) else np.einsum("ij,jk,ik->i", scaled, inverse, scaled)
        pick = int(np.argmax(np.where(free, scores, -np.inf)))
        chosen.append(pick)
        free[pick] = False
        # Sherman-Morrison update of the inverse.
        moved = inverse @ scaled[pick]
        inverse -= np.outer(moved, moved) / (1.0 + scaled[pick] @ moved)
    return np.array(chosen, dtype=np.intp)


def calibrate(
    folder: Path,
    target: Target,
    networks: Sequence[Sequence[BlockSpec]],
    export: Callable[[Sequence[BlockSpec], Path], None],
    protocol: MeasureProtocol,
    prior: LatencyPredictor,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> LatencyPredictor:
    """Measures networks on this machine, appends them to the profile's measurements, fits and writes the target's predictor.

    Args:
        folder: of the profile.
        target: with the runtime of this machine.
        networks: to measure; those in the measurements already are not measured again.
        export: writes the model file of a network.
        protocol: how to measure; the threads are the target's.
        prior: what the fit is pulled toward.
        on_progress: called with networks done, all of them, and what is being done.

    Raises:
        InputError: fewer than 4 networks.
        TargetError: a run failed. What was measured before is kept.
    """
    if len({network_hash(blocks) for blocks in networks}) < _MIN_NETWORKS:
        raise InputError(f"a calibration needs at least {_MIN_NETWORKS} different networks, got {len(networks)}")
    tell = on_progress or _silent
    runtime: Runtime = plugins.load("runtimes", target.runtime)()
    path = rows_path(folder, target)
    rows = read_rows(path)
    known = {row.network for row in rows if row.runtime_version == runtime.version()}
    missing = {network_hash(blocks): blocks for blocks in networks if network_hash(blocks) not in known}
    done = len(networks) - len(missing)
    if missing:
        anchor_blocks = sorted(networks, key=lambda blocks: prior.predict(blocks).value)[len(networks) // 2]
        tell(done, len(networks), "anchor")
        with _opened(anchor_blocks, export, runtime, target.threads) as anchor:
            for name, blocks in missing.items():
                tell(done, len(networks), name)
                with _opened(blocks, export, runtime, target.threads) as run:
                    measurement = measure(run, protocol, anchor)
                rows.append(_row(name, blocks, network_hash(anchor_blocks), measurement, runtime.version()))
                _write_rows(path, rows)
                done += 1
    tell(done, len(networks), "fit")
    predictor = _fit([row for row in rows if row.runtime_version == runtime.version()], target, prior)
    save_predictor(predictor, folder / f"predictor-{target.runtime}-{target.precision}-{target.threads}t.json")
    return predictor


def measure_model(path: Path, target: Target, protocol: MeasureProtocol) -> Metric:
    """Latency of one model file on this machine with the target's runtime and threads, source "measured"."""
    runtime: Runtime = plugins.load("runtimes", target.runtime)()
    return measure_models([path], runtime, protocol.model_copy(update={"threads": target.threads}))[0]


def _silent(done: int, total: int, what: str) -> None:
    """Progress that nobody asked for."""
    del done, total, what


@contextmanager
def _opened(
    blocks: Sequence[BlockSpec], export: Callable[[Sequence[BlockSpec], Path], None], runtime: Runtime, threads: int
) -> Iterator[Callable[[], None]]:
    with tempfile.TemporaryDirectory(prefix="nas-measure-") as temporary:
        model = Path(temporary) / "model.onnx"
        export(blocks, model)
        with runtime.open(model, threads) as run:
            yield run


def _row(name: str, blocks: Sequence[BlockSpec], anchor: str, measurement: Measurement, version: str) -> Row:
    return Row(
        network=name,
        ratio=measurement.latency_s(1.0),
        anchor=anchor,
        anchor_s=measurement.anchor_s or 0.0,
        median_s=measurement.median_s,
        iqr_s=measurement.iqr_s,
        p90_s=measurement.p90_s,
        p99_s=measurement.p99_s,
        runs=len(measurement.samples_s),
        windows_s=" ".join(f"{np.median(window):.6g}" for window in measurement.windows_s),
        warning=measurement.warning,
        runtime_version=version,
        date=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        blocks=_blocks_json(blocks),
    )


def _fit(rows: Sequence[Row], target: Target, prior: LatencyPredictor) -> LatencyPredictor:
    """Fits ratios scaled back to seconds by their anchor's median over all rows."""
    anchors: dict[str, list[float]] = {}
    for row in rows:
        anchors.setdefault(row.anchor, []).append(row.anchor_s)
    networks = [row.specs() for row in rows]
    labels = np.array([row.ratio * float(np.median(anchors[row.anchor])) for row in rows])
    return fit(
        np.array([network_features(blocks) for blocks in networks]),
        labels,
        dataclasses.replace(prior, threads=target.threads, speedup=None),
        shape_ranges(networks),
        source=f"{len(rows)} networks measured here with {target.runtime} {rows[0].runtime_version}, {target.threads} thread(s)",
    )
