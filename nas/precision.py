"""int8 beside fp32 in one front: offered where the target is really faster in it, its accuracy from networks that were really quantised.

Each candidate that was evaluated in fp32 gets a twin in int8 with an id, a latency and an accuracy of its own. How much accuracy int8
costs is measured on networks of the search, with the weights of the supernet, and modelled for the others.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.architecture import BlockSpec
from nas.compress.int8 import Int8Maker
from nas.errors import InputError, NasError, StoppedError
from nas.events import Event, Listener
from nas.hardware.export import Deployed, export_blocks, export_onnx
from nas.hardware.native import foreign_operators
from nas.hardware.runtimes.loading import load_runtime
from nas.measuring import HOST
from nas.metrics import Metric
from nas.preparation import Device, Prepared
from nas.search import storage
from nas.search.evaluators import EvaluatorContext
from nas.search.evaluators.supernet import SupernetEvaluator
from nas.search.scoring import Scorer
from nas.target import Target

__all__ = ["DropModel", "int8_latency", "int8_scorer", "tell_foreign", "with_int8"]

POOL = 2000
"""Feasible architectures that say whether a precision is faster."""
QUANTISED = 24
"""Networks that are really quantised."""
LEAST_QUANTISED = 4
RIDGE = 1.0
"""Of the slopes, in units of one standard deviation of the descriptors: with few networks the mean is most of the model."""


def int8_scorer(device: Device, on_event: Listener) -> Scorer | None:
    """Costs in int8, where the device's predictor for it, measured or published, says that it is faster; else says why not.

    Several devices as one have none: each of them has its own.
    """
    if device.profile is None or not isinstance(device.scorer, Scorer):
        return None
    target = replace(device.target, precision="int8")
    try:
        if device.target.device == HOST and not device.profile.predictor_path(target).is_file():
            raise InputError(f"nothing was measured in int8: nas measure --device {HOST} --precision int8")
        predictor = device.profile.predictor(target)
    except InputError as exc:
        on_event(Event("info", f"int8 is left out on {target.device}: {exc}"))
        return None
    scorer = Scorer(device.scorer.space, target, predictor, device.profile.energy_model(target, []))
    rows = device.feasible.rows[:POOL]
    ratios = scorer.values(rows)["latency_s"] / device.scorer.values(rows)["latency_s"]
    ratio = float(np.exp(np.log(ratios).mean()))
    source = "measured" if predictor.measurements else "published"
    if ratio >= 1:
        on_event(Event("info", f"int8 is slower on this target ({ratio:.2g}x, {source}): left out", fields={"int8_over_fp32": ratio}))
        return None
    on_event(Event("info", f"int8 is {1 / ratio:.2g}x as fast on {target.key} ({source})", fields={"int8_over_fp32": ratio}))
    return scorer


def int8_latency(device: Device, target: Target) -> Callable[[Sequence[BlockSpec]], Metric] | None:
    """Predicted latency of blocks in int8 on a target of the device that is not here; None where nothing is known of it."""
    if device.profile is None or target.device == HOST or target.precision != "fp32":
        return None
    try:
        predictor = device.profile.predictor(replace(target, precision="int8"))
    except InputError:
        return None
    return partial(predictor.predict, threads=target.threads)


@dataclass(frozen=True)
class DropModel:
    """Accuracy that int8 costs: a ridge regression on the logarithms of multiply-adds and parameters.

    Attributes:
        center, scale: of the descriptors.
        slopes: per standard deviation.
        mean, std: of the drop, and of what the regression leaves of it.
        networks: that were really quantised.
    """

    center: NDArray[np.float64]
    scale: NDArray[np.float64]
    slopes: NDArray[np.float64]
    mean: float
    std: float
    networks: int

    @classmethod
    def fit(cls, descriptors: NDArray[np.float64], drops: NDArray[np.float64]) -> DropModel:
        """Args:
            descriptors: (n, d).
            drops: (n,), shares of accuracy.

        Raises:
            InputError: fewer than 4 networks.
        """
        if len(drops) < LEAST_QUANTISED:
            raise InputError(
                f"the accuracy that int8 costs is modelled from {LEAST_QUANTISED} quantised networks or more, got {len(drops)}"
            )
        center, spread = descriptors.mean(axis=0), descriptors.std(axis=0)
        scale = np.where(spread > 0, spread, 1.0)
        x, y = (descriptors - center) / scale, drops - drops.mean()
        slopes = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
        left = y - x @ slopes
        return cls(center, scale, slopes, float(drops.mean()), float(left.std(ddof=min(len(drops) - 1, 1 + x.shape[1]))), len(drops))

    def drop(self, descriptors: NDArray[np.float64]) -> float:
        return self.mean + float((descriptors - self.center) / self.scale @ self.slopes)


def with_int8(
    prepared: Prepared, device: Device, study: storage.Study, done: Sequence[storage.Evaluated], context: EvaluatorContext | None,
    on_event: Listener, stop: Callable[[], bool], deadline_s: float | None = None,
) -> list[storage.Evaluated]:  # fmt: skip
    """What was evaluated in fp32, and its twins in int8 where the target is faster in it.

    Args:
        context: with the supernet; None where nothing may be quantised any more: what the study knows is used.
        deadline_s: on the clock of `time.monotonic`; after it no more networks are quantised than a model needs.

    Raises:
        StoppedError: `stop` said so; what was quantised is kept with the study.
    """
    scorer = int8_scorer(device, on_event) if prepared.config.precision == "both" else None
    if scorer is None:
        return list(done)
    drops: dict[str, float] = dict(study.user_attrs.get(storage.INT8_DROPS, {}))
    if context is not None and context.weights is not None:
        _quantise(context, done, drops, study, on_event, stop, deadline_s)
    known = [each.candidate for each in done if each.candidate.arch.arch_id in drops]
    try:
        model = DropModel.fit(
            np.array([_descriptors(each.metrics) for each in known]).reshape(len(known), -1),
            np.array([drops[each.arch.arch_id] for each in known]),
        )
    except InputError as exc:
        on_event(Event("warning", f"int8 is left out on {device.target.device}: {exc}"))
        return list(done)
    text = f"int8 costs {100 * model.mean:.2f} ± {100 * model.std:.2f} points on search-validation ({model.networks} networks quantised)"
    on_event(Event("info", text))
    return [*done, *(_twin(each, scorer, model, drops) for each in done)]


def _descriptors(metrics: Mapping[str, Metric]) -> NDArray[np.float64]:
    return np.log([metrics["macs"].value, metrics["params"].value])


def _twin(each: storage.Evaluated, scorer: Scorer, model: DropModel, drops: Mapping[str, float]) -> storage.Evaluated:
    """The same network in int8."""
    arch, fp32 = each.candidate.arch, each.candidate.metrics["accuracy_search"]
    measured = drops.get(arch.arch_id)
    drop = model.drop(_descriptors(each.candidate.metrics)) if measured is None else measured
    std = float(np.hypot(fp32.std or 0.0, model.std if measured is None else 0.0))
    scope = "int8, really quantised" if measured is not None else f"int8, drop modelled from {model.networks} quantised networks"
    accuracy = replace(fp32, value=min(1.0, max(0.0, fp32.value - drop)), std=std, scope=scope)
    kept = {
        name: metric
        for name, metric in each.candidate.metrics.items()
        if name not in ("accuracy_search", "energy_j", *scorer.metrics(arch))
    }
    metrics = {"accuracy_search": accuracy, **kept, **scorer.metrics(arch)}
    return storage.Evaluated(replace(each.candidate, target=scorer.target, metrics=metrics), 0.0)


def _quantise(
    context: EvaluatorContext, done: Sequence[storage.Evaluated], drops: dict[str, float], study: storage.Study, on_event: Listener,
    stop: Callable[[], bool], deadline_s: float | None,
) -> None:  # fmt: skip
    """Quantises networks of the search, spread over their latencies, until there are enough; none twice."""
    ordered = sorted({each.candidate.arch: each.candidate for each in done}.values(), key=lambda each: each.metrics["latency_s"].value)
    places = np.unique(np.linspace(0, len(ordered) - 1, min(QUANTISED, len(ordered))).astype(int))
    chosen = [ordered[place] for place in places if ordered[place].arch.arch_id not in drops]
    if not chosen or len(drops) >= len(places):
        return
    on_event(Event("phase", f"Quantising {len(chosen)} networks to learn what int8 costs", fields={"phase": "int8"}))
    evaluator = SupernetEvaluator(context)
    with tempfile.TemporaryDirectory(prefix="nas-int8-") as folder:
        for number, candidate in enumerate(chosen):
            if stop():
                raise StoppedError(f"stopped after {number} of {len(chosen)} networks were quantised: they are kept")
            if deadline_s is not None and time.monotonic() > deadline_s and len(drops) >= LEAST_QUANTISED:
                on_event(Event("info", f"the time for the search is over: {number} of {len(chosen)} networks were quantised"))
                break
            network = evaluator.extract(candidate.arch)
            data = context.images(network.blocks[0].in_size)
            maker = Int8Maker(data, context.recipe, context.data_seed, most_drop=1.0)
            whole, small = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
            try:
                export_onnx(Deployed(network, data.mean, data.std), network.blocks, whole, {})
                made = maker.make(network, whole, small, {})
            except StoppedError:
                raise
            except NasError as exc:
                on_event(Event("warning", f"{candidate.arch.arch_id} cannot be quantised: {exc}"))
                continue
            drops[candidate.arch.arch_id] = made.fp32 - made.after_training
            study.set_user_attr(storage.INT8_DROPS, drops)
            on_event(Event("progress", f"quantised {number + 1} of {len(chosen)}", share=(number + 1) / len(chosen)))


def tell_foreign(prepared: Prepared, on_event: Listener) -> None:
    """Before anything is scored: operators of the space that a target does not run natively, by its profile and, here, by the runtime."""
    for device in prepared.devices:
        if device.profile is None:
            continue
        for precision in ("fp32", "int8") if prepared.config.precision == "both" else (device.target.precision,):
            runtime = device.target.runtime
            entry = device.profile.runtimes[runtime]
            found = list(foreign_operators(prepared.space.blocks, runtime, precision, entry.foreign))
            if device.target.device == HOST:
                found += _inspected(prepared, runtime, precision)
            if found:
                on_event(Event("warning", f"{device.target.device}: {runtime} does not run natively in {precision}: {', '.join(found)}"))


def _inspected(prepared: Prepared, runtime: str, precision: str) -> list[str]:
    """What the runtime itself says of the largest network."""
    from nas.compress.quantize import quantize, random_images

    blocks = prepared.space.decode(prepared.space.largest)
    with tempfile.TemporaryDirectory(prefix="nas-inspect-") as folder:
        path = Path(folder) / "model.onnx"
        export_blocks(blocks, path)
        if precision == "int8":
            quantize(path, path, random_images((1, blocks[0].in_chs, blocks[0].in_size, blocks[0].in_size)))
        return [what for what in load_runtime(runtime).inspect(path, 1).foreign if not what.endswith(("Sub in fp32", "Mul in fp32"))]
