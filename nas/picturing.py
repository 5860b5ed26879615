"""What the pictures of a study show, gathered from what the search knows: predictors, measurements, networks, the log."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nas.errors import NasError
from nas.hardware.ceiling import Ceiling, ceiling
from nas.hardware.evaluation import Evaluation, cross_validate
from nas.hardware.features import network_features
from nas.hardware.predictor import LatencyPredictor
from nas.hardware.profile import DeviceProfile
from nas.hardware.rows import labels_s, newest_rows, read_rows, rows_path
from nas.preparation import Device, Prepared
from nas.report.facts import PredictorFacts, StudyFacts
from nas.report.figures import Progress
from nas.report.front import FrontRecord
from nas.search import pareto
from nas.search.engine import losses
from nas.search.scoring import Scorer
from nas.search.storage import Evaluated
from nas.target import Target

__all__ = ["study_facts"]

CURVE_POINTS = 200
"""Of the hypervolume's curve."""


def study_facts(
    prepared: Prepared, fronts: Sequence[FrontRecord], done: Sequence[Sequence[Evaluated]], log: Sequence[Mapping[str, Any]]
) -> StudyFacts:
    """All that is to be shown of a study.

    Args:
        fronts: one a device, in the order of `prepared.devices`.
        done: what was evaluated for each.
        log: events of log.jsonl, oldest first.
    """
    finalists = [each for front in fronts for each in front.finalists]
    return StudyFacts(
        config=prepared.config,
        fronts=tuple(fronts),
        progress={
            front.device: _progress(prepared, device, front, evaluated)
            for front, evaluated, device in zip(fronts, done, prepared.devices, strict=True)
        },
        predictors={
            front.device: known
            for device, front in zip(prepared.devices, fronts, strict=True)
            if (known := _predictor(prepared, device, front)) is not None
        },
        blocks={each.id: prepared.space.decode(each.candidate.arch) for each in finalists},
        ceilings={
            front.device: _ceilings(prepared, device.profile, front)
            for device, front in zip(prepared.devices, fronts, strict=True)
            if device.profile is not None
        },
        powers={
            device.target.device: device.profile.power
            for device in prepared.devices
            if device.profile is not None and device.profile.power is not None
        },
        data=prepared.data.to_dict(),
        space_size=prepared.space.size,
        log=log,
    )  # fmt: skip


def _progress(prepared: Prepared, device: Device, front: FrontRecord, done: Sequence[Evaluated]) -> Progress:
    """Hypervolume of the front over evaluations: each network stands on all targets of the device from its evaluation on, where it meets
    the constraints there. The last one is the front's."""
    archs = [each.candidate.arch for each in done if each.candidate.target == device.target]
    places = {arch: number for number, arch in enumerate(archs, 1)}
    able = [each.candidate for each in done if each.candidate.meets(prepared.config.constraints)]
    points, number = losses(able, prepared.front_objectives), np.array([places[candidate.arch] for candidate in able], dtype=int)
    reference = [o.loss(value) for o, value in zip(prepared.front_objectives, front.reference_point, strict=True)]
    counts: list[int] = [] if not archs else np.unique(np.linspace(1, len(archs), min(len(archs), CURVE_POINTS)).astype(int)).tolist()
    return [(n, pareto.hypervolume(points[number <= n], reference)) for n in counts]


def _ceilings(prepared: Prepared, profile: DeviceProfile, front: FrontRecord) -> dict[str, Ceiling]:
    """Of its members and finalists, by candidate id; of the latency that was measured where it was."""
    found = {}
    for each in front.shown:
        metrics = each.candidate.metrics
        latency = metrics.get("latency_measured_s", metrics["latency_s"])
        found[each.id] = ceiling(prepared.space.decode(each.candidate.arch), each.candidate.target, latency, profile.chip)
    return found


def _predictor(prepared: Prepared, device: Device, front: FrontRecord) -> PredictorFacts | None:
    """Of the first target, with those of the others; None where several devices are one: each of them has its own."""
    if device.profile is None:
        return None
    found: list[tuple[LatencyPredictor, list[Target]]] = []
    for scorer in device.scorer.all:
        if not isinstance(scorer, Scorer):
            return None
        known = next((targets for predictor, targets in found if predictor == scorer.predictor), None)
        if known is None:
            found.append((scorer.predictor, [scorer.target]))
        else:
            known.append(scorer.target)
    first, *others = [_facts_of(prepared, predictor, targets, front) for predictor, targets in found]
    evaluation = _evaluation(device.profile, device.target)
    return replace(first, unknown=device.profile.unknown, evaluation=evaluation, others=tuple(others))


def _facts_of(prepared: Prepared, predictor: LatencyPredictor, targets: Sequence[Target], front: FrontRecord) -> PredictorFacts:
    """Of one predictor; what it says of members of the front and pruned finalists on the targets that it answers for."""
    decode, members = prepared.space.decode, (each for each in front.shown if each.candidate.target in targets)
    outside = [each.id for each in members if predictor.is_measured and not predictor.in_range(decode(each.candidate.arch))]
    return PredictorFacts(
        measurements=predictor.measurements,
        held_out_error=dict(predictor.quality).get("out_of_fold_mape"),
        band=math.exp(predictor.half_width),
        source=predictor.source,
        outside=frozenset(outside),
        targets=tuple(targets),
    )


def _evaluation(profile: DeviceProfile, target: Target) -> Evaluation | None:
    """Predicted against measured on the networks of the device that were measured; None where they are too few, or cannot be read."""
    try:
        rows = newest_rows(read_rows(rows_path(profile.folder, target), target))
        features = np.array([network_features(row.specs()) for row in rows])
        return cross_validate(features, labels_s(rows), profile.prior_to_fit(target)) if rows else None
    except NasError:  # a picture that is missing must not cost the study its files
        return None
