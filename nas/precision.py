"""What was evaluated, on every target of its device: in int8 too, with accuracies from networks that were really quantised.

An architecture's accuracy is the same on every target of one precision. In int8 it is another one: how much that costs is measured on
networks of the search, with the weights of the supernet, and modelled for the others.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from nas.metrics import Candidate, Metric
from nas.preparation import Device, Prepared
from nas.rounds import Searched
from nas.search import storage
from nas.search.evaluators import EvaluatorContext
from nas.search.evaluators.supernet import SupernetEvaluator
from nas.search.scoring import BaseScorer
from nas.target import Target

__all__ = ["DropModel", "int8_latency", "on_every_target", "tell_foreign"]

QUANTISED = 24
"""Networks that are really quantised."""
LEAST_QUANTISED = 4
RIDGE = 1.0
"""Of the slopes, in units of one standard deviation of the descriptors: with few networks the mean is most of the model."""


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


def on_every_target(
    searched: Sequence[Searched], context: EvaluatorContext | None, on_event: Listener, stop: Callable[[], bool],
    deadline_s: float | None = None,
) -> list[list[storage.Evaluated]]:  # fmt: skip
    """What was evaluated on the first target of each device, and the same architectures on its others.

    What int8 costs is the network's on all of them: no network is quantised for two devices, and one model answers for the others.

    Args:
        context: with the supernet; None where nothing may be quantised any more: what the studies know is used.
        deadline_s: on the clock of `time.monotonic`; after it no more networks are quantised than a model needs.

    Raises:
        StoppedError: `stop` said so; what was quantised is kept with the studies.
    """
    small = [each for each in searched if any(scorer.target.precision == "int8" for scorer in each.device.scorer.others)]
    drops: dict[str, float] = {}
    for each in small:  # a study of an earlier version has its own: the first one counts
        drops = {**each.study.user_attrs.get(storage.INT8_DROPS, {}), **drops}
    if context is not None and context.weights is not None:
        failed: set[str] = set()
        for each in small:
            _quantise(context, each.done, drops, failed, each.study, on_event, stop, deadline_s)
    model = _drop_model(small, drops, on_event) if small else None
    return [[*each.done, *_elsewhere(each, model, drops)] for each in searched]


def _drop_model(searched: Sequence[Searched], drops: Mapping[str, float], on_event: Listener) -> DropModel | None:
    """Of networks that were quantised, whatever device they were evaluated for; None, and told, where they are too few."""
    done = {each.candidate.arch.arch_id: each for device in searched for each in device.done}.values()
    known = [each.candidate for each in done if each.candidate.arch.arch_id in drops]
    try:
        model = DropModel.fit(
            np.array([_descriptors(each.metrics) for each in known]).reshape(-1, 2),
            np.array([drops[each.arch.arch_id] for each in known]),
        )
    except InputError as exc:
        on_event(Event("warning", f"int8 is left out on {', '.join(each.device.target.device for each in searched)}: {exc}"))
        return None
    text = f"int8 costs {100 * model.mean:.2f} ± {100 * model.std:.2f} points on search-validation ({model.networks} networks quantised"
    should = min(QUANTISED, len(done))
    few = model.networks < should
    on_event(Event("warning" if few else "info", f"{text}{f', of {should} that it should be' if few else ''})"))
    return model


def _elsewhere(searched: Searched, model: DropModel | None, drops: Mapping[str, float]) -> Iterator[storage.Evaluated]:
    """What was evaluated for a device, on its other targets: in int8 where there is a model of what that costs."""
    others = searched.device.scorer.others
    yield from (_placed(each, scorer) for each in searched.done for scorer in others if scorer.target.precision != "int8")
    if model is not None:
        yield from (_twin(each, scorer, model, drops) for each in searched.done for scorer in others if scorer.target.precision == "int8")


def _placed(each: storage.Evaluated, scorer: BaseScorer) -> storage.Evaluated:
    """The same network in the same precision on another target: its accuracy is the same, and was paid for once."""
    arch, metrics = each.candidate.arch, each.candidate.metrics
    return storage.Evaluated(Candidate(arch, scorer.target, {**metrics, **scorer.metrics(arch)}, each.candidate.trial), 0.0)


def _descriptors(metrics: Mapping[str, Metric]) -> NDArray[np.float64]:
    return np.log([metrics["macs"].value, metrics["params"].value])


def _twin(each: storage.Evaluated, scorer: BaseScorer, model: DropModel, drops: Mapping[str, float]) -> storage.Evaluated:
    """The same network in int8."""
    fp32 = each.candidate.metrics["accuracy_search"]
    measured = drops.get(each.candidate.arch.arch_id)
    drop = model.drop(_descriptors(each.candidate.metrics)) if measured is None else measured
    std = float(np.hypot(fp32.std or 0.0, model.std if measured is None else 0.0))
    scope = "int8, really quantised" if measured is not None else f"int8, drop modelled from {model.networks} quantised networks"
    accuracy = replace(fp32, value=min(1.0, max(0.0, fp32.value - drop)), std=std, scope=scope)
    placed = _placed(each, scorer)
    return replace(placed, candidate=replace(placed.candidate, metrics={**placed.candidate.metrics, "accuracy_search": accuracy}))


def _quantise(
    context: EvaluatorContext, done: Sequence[storage.Evaluated], drops: dict[str, float], failed: set[str], study: storage.Study,
    on_event: Listener, stop: Callable[[], bool], deadline_s: float | None,
) -> None:  # fmt: skip
    """Quantises networks of a device's search, spread over their latencies, until there are enough; none of those in `drops` or `failed`,
    to which it adds."""
    ordered = sorted({each.candidate.arch: each.candidate for each in done}.values(), key=lambda each: each.metrics["latency_s"].value)
    places = _spread(len(ordered), QUANTISED)
    lacking = max(0, len(places) - sum(each.arch.arch_id in drops for each in ordered))
    unknown = [ordered[place] for place in places if ordered[place].arch.arch_id not in {*drops, *failed}]
    chosen = [unknown[place] for place in _spread(len(unknown), lacking)]
    if not chosen:
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
            data = context.images(context.space.decode(candidate.arch)[0].in_size)
            network = evaluator.extract_for(candidate.arch, data)
            maker = Int8Maker(data, context.recipe, context.data_seed, most_drop=1.0)
            whole, small = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
            try:
                export_onnx(Deployed(network, data.mean, data.std), network.blocks, whole, {})
                made = maker.make(network, whole, small, {})
            except StoppedError:
                raise
            except NasError as exc:
                failed.add(candidate.arch.arch_id)
                on_event(Event("warning", f"{candidate.arch.arch_id} cannot be quantised: {exc}"))
                continue
            drops[candidate.arch.arch_id] = made.fp32 - made.after_training
            study.set_user_attr(storage.INT8_DROPS, drops)
            on_event(Event("progress", f"quantised {number + 1} of {len(chosen)}", share=(number + 1) / len(chosen)))


def _spread(count: int, most: int) -> list[int]:
    """Places in a list of `count`, evenly from its first to its last: as many as there are, or `most`."""
    return sorted(set(np.linspace(0, count - 1, min(most, count)).astype(int).tolist()))


def tell_foreign(prepared: Prepared, on_event: Listener) -> None:
    """Before anything is scored: operators of the space that a target does not run natively, by its profile and, here, by the runtime."""
    for device in prepared.devices:
        if device.profile is None:
            continue
        for runtime, precision in dict.fromkeys((scorer.target.runtime, scorer.target.precision) for scorer in device.scorer.all):
            entry = device.profile.runtimes[runtime]
            found = list(foreign_operators(prepared.space.blocks, runtime, precision, entry.foreign))
            if device.target.device == HOST:
                try:
                    found += _inspected(prepared, runtime, precision)
                except NasError as exc:
                    on_event(Event("warning", f"{runtime} could not be asked what it runs natively in {precision}: {exc}"))
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
