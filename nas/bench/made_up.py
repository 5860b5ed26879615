"""Studies for benchmarks of the report: real networks with their real costs; their accuracies are made up, so that all are on the front."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from nas.architecture import Architecture
from nas.config import check_config
from nas.files import write_atomic
from nas.hardware.profile import load_profile
from nas.metrics import Candidate, Metric
from nas.report.front import CandidateRecord, FrontRecord
from nas.report.record import EventLog, write_front
from nas.report.tracking import BEGIN, END, LOG
from nas.search.scoring import Scorer
from nas.space import load_space

__all__ = ["made_up_accuracy", "made_up_front", "write_made_up_study"]

SPACE, DEVICE = "mobilenet_cifar", "raspberrypi4"


def made_up_front(study: str, members: int, dominated: int, seed: int) -> FrontRecord:
    """A front of random networks of a shipped space; accuracy rises with latency."""
    space, profile = load_space(SPACE), load_profile(DEVICE)
    target = profile.target()
    scorer = Scorer(space, target, profile.predictor(target), profile.energy_model(target, []))
    rows = space.sample_rows(4 * (members + dominated), np.random.default_rng(seed))
    archs = list(dict.fromkeys(space.decode_rows(rows)))[: members + dominated]
    costs = sorted(((scorer.metrics(arch), arch) for arch in archs), key=lambda each: each[0]["latency_s"].value)
    records: list[CandidateRecord] = []
    for rank, (metrics, arch) in enumerate(costs):
        on_front = rank % ((members + dominated) // members) == 0 and sum(each.on_front for each in records) < members
        value = 0.6 + 0.3 * rank / len(costs) - (0 if on_front else 0.05)
        candidate = Candidate(arch, target, {**metrics, "accuracy_search": Metric(value, "1", "supernet", std=0.01)}, rank)
        genes, title = space.gene_numbers(arch), space.describe(arch)
        records.append(CandidateRecord(candidate, on_front, gene_numbers=genes, title=title))
    worst = max(metrics["latency_s"].value for metrics, _ in costs)
    return FrontRecord(
        study, DEVICE, SPACE, "made-up", f"{seed:032x}", ("accuracy_search", "latency_s"), 0.01, (0.1, 2 * worst), tuple(records),
        {"trials": float(len(costs)), "seconds": 60.0},
    )  # fmt: skip


def write_made_up_study(runs: Path, study: str, members: int, seed: int, trials: int = 50) -> Path:
    """The folder of a study with such a front."""
    folder, front = runs / study, made_up_front(study, members, 2 * members, seed)
    config = check_config({"study": study, "devices": (DEVICE,), "space": SPACE, "data": "made-up", "trials": trials})
    facts = {
        "schema": 1, "config": json.loads(config.model_dump_json()), "space": SPACE, "targets": [{"device": DEVICE}],
        "data": {"name": "made-up", "fingerprint": front.data_fingerprint},
    }  # fmt: skip
    write_atomic(folder / "config.json", json.dumps(facts))
    log = EventLog(folder / LOG)
    log.append(BEGIN)
    for trial in range(trials):
        log.append("trial", {"device": DEVICE, "candidates": trial + 1, "hypervolume": trial / trials, "best_accuracy": 0.9})
    write_front(folder, front)
    log.append(END, {"status": "FINISHED"})
    return folder


def made_up_accuracy(arch: Architecture) -> Metric:
    """More is better, with diminishing returns, and some chance."""
    sizes = [float(value) for _, value in arch.genes if not isinstance(value, str)]
    chance = int(arch.arch_id[:4], 16) / 65536
    return Metric(0.5 + 0.4 * (1 - float(np.exp(-sum(sizes) / 200))) + 0.02 * chance, "1", "supernet", std=0.01)
