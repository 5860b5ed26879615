"""Facts of a study that look like real ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nas.config import SearchConfig
from nas.hardware.ceiling import Ceiling, ceiling
from nas.hardware.evaluation import Evaluation
from nas.hardware.profile import load_profile
from nas.metrics import Metric
from nas.report.facts import PredictorFacts, StudyFacts
from nas.report.front import CandidateRecord, FrontRecord
from nas.report.pictures import DRAWING
from nas.space import load_space
from nas.training.data import load_data

EVIL = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 1'>&\"'"
"""A name that would run if it were not escaped."""


def example_evaluation(networks: int = 30) -> Evaluation:
    measured = np.geomspace(1e-3, 0.1, networks)
    predicted = measured * np.random.default_rng(0).normal(1, 0.05, networks)
    return Evaluation(measured, predicted, 0.9 * predicted, 1.1 * predicted)


def with_drawings(front: FrontRecord) -> FrontRecord:
    """Its finalists name their drawings."""
    return replace(front, candidates=tuple(_drawn(each) if each.finalist else each for each in front.candidates))


def _drawn(each: CandidateRecord) -> CandidateRecord:
    return replace(each, artifacts={**each.artifacts, DRAWING: f"models/{each.id}/architecture.svg"}, note="fine-tuned for 12 epochs (8 s)")


def measured(front: FrontRecord) -> FrontRecord:
    """Its finalists were run on the device."""
    return replace(front, candidates=tuple(_measured(each) if each.finalist else each for each in front.candidates))


def _measured(each: CandidateRecord) -> CandidateRecord:
    value = 1.1 * each.candidate.metrics["latency_s"].value
    found = Metric(value, "s", "measured", low=0.99 * value, high=1.02 * value)
    return replace(each, candidate=replace(each.candidate, metrics={**each.candidate.metrics, "latency_measured_s": found}))


def without_energy(front: FrontRecord) -> FrontRecord:
    """The front of a device without power data."""
    candidates = []
    for each in front.candidates:
        metrics = {name: metric for name, metric in each.candidate.metrics.items() if name != "energy_j"}
        candidates.append(replace(each, candidate=replace(each.candidate, metrics=metrics)))
    return replace(front, candidates=tuple(candidates))


def example_ceilings(front: FrontRecord) -> dict[str, Ceiling]:
    """Of its members and finalists, all of them of one network, beneath the peaks of a Raspberry Pi 4."""
    space, chip = load_space("mobilenet_tiny"), load_profile("raspberrypi4").chip
    blocks, found = space.decode(space.largest), {}
    for each in front.shown:
        metrics = each.candidate.metrics
        found[each.id] = ceiling(blocks, each.candidate.target, metrics.get("latency_measured_s", metrics["latency_s"]), chip)
    return found


def example_facts(*fronts: FrontRecord) -> StudyFacts:
    """Facts of a study with these fronts; the first device was measured."""
    config = SearchConfig(study=fronts[0].study, devices=tuple(each.device for each in fronts), space="mobilenet_tiny", data="digits")
    blocks = load_space("mobilenet_tiny").decode(load_space("mobilenet_tiny").largest)
    predictors = {
        front.device: PredictorFacts(
            177,
            0.141,
            1.34,
            "HW-NAS-Bench (Li et al. 2021)",
            frozenset(each.id for each in front.front[:1]),
            ("int8 latency, throttling",),
            example_evaluation() if number == 0 else None,
        )
        for number, front in enumerate(fronts)
    }
    return StudyFacts(
        config=config,
        fronts=fronts,
        progress={front.device: [(n, 0.01 * (1 - 0.9**n)) for n in range(1, 60)] for front in fronts},
        predictors=predictors,
        blocks={each.id: blocks for front in fronts for each in front.finalists},
        ceilings={front.device: example_ceilings(front) for front in fronts},
        powers={front.device: power for front in fronts if (power := load_profile("raspberrypi4").power) is not None},
        data=load_data("digits", 8, 0).to_dict(),
        space_size=1_234_567,
        log=(
            {"time": "2026-01-01T10:00:00+00:00", "kind": "begin"},
            {"time": "2026-01-01T10:00:02+00:00", "kind": "phase", "phase": "supernet"},
            {"time": "2026-01-01T10:01:02+00:00", "kind": "info", "text": "supernet trained: 6 epochs, 102 steps, 60 s"},
            {"time": "2026-01-01T10:01:02+00:00", "kind": "phase", "phase": "search"},
            {"time": "2026-01-01T10:01:32+00:00", "kind": "warning", "text": "two images cannot be read"},
            {"time": "2026-01-01T10:01:42+00:00", "kind": "phase", "phase": "record"},
            {"time": "2026-01-01T10:01:50+00:00", "kind": "done"},
        ),
    )
