"""Values of the report for property tests, and one front that looks like a real one."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import strategies as st

from nas.architecture import Architecture
from nas.metrics import UNITS, Candidate, Metric
from nas.report.front import CandidateRecord, FrontRecord
from nas.target import Target

words = st.text(max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,15}", fullmatch=True)
genes = st.dictionaries(st.from_regex(r"[a-z][a-z0-9._]{0,8}", fullmatch=True), st.integers() | numbers | words, max_size=6)


@st.composite
def metrics(draw: st.DrawFn, unit: str) -> Metric:
    low, value, high = sorted(draw(st.tuples(numbers, numbers, numbers)))
    band = (low, high) if draw(st.booleans()) else (None, None)
    return Metric(
        value,
        unit,
        draw(st.sampled_from(["counted", "predicted", "trained", "measured", "published", "modelled"])),
        std=draw(st.none() | st.floats(0, 1e9)),
        low=band[0],
        high=band[1],
        scope=draw(words.filter(bool) if unit == "J" else st.none() | words),
    )


@st.composite
def records(draw: st.DrawFn, device: str) -> CandidateRecord:
    known = {name: draw(metrics(UNITS[name])) for name in draw(st.sets(st.sampled_from(sorted(UNITS))))}
    known |= {"accuracy_search": Metric(draw(numbers), "1", "supernet", std=0.01), "latency_s": draw(metrics("s"))}
    target = Target(device, draw(names), draw(words), draw(st.sampled_from(["fp32", "int8"])), draw(st.integers(1, 64)))
    arch = Architecture(draw(names), tuple(draw(genes).items()))
    return CandidateRecord(
        Candidate(arch, target, known, trial=draw(st.none() | st.integers(0, 10**6))),
        on_front=draw(st.booleans()),
        finalist=draw(st.booleans()),
        tied=draw(st.booleans()),
        feasible=draw(st.booleans()),
        gene_numbers=draw(st.dictionaries(words, numbers, max_size=4)),
        title=draw(words),
        artifacts=draw(st.dictionaries(words, st.from_regex(r"models/[a-z0-9]{1,8}/model\.onnx", fullmatch=True), max_size=2)),
        note=draw(words),
    )


@st.composite
def fronts(draw: st.DrawFn) -> FrontRecord:
    device = draw(names)
    return FrontRecord(
        study=draw(names),
        device=device,
        space=draw(words),
        data=draw(words),
        data_fingerprint=draw(words),
        objectives=("accuracy_search", "latency_s"),
        hypervolume=draw(st.floats(0, 1e9)),
        reference_point=draw(st.tuples(numbers, numbers)),
        candidates=tuple(draw(st.lists(records(device), max_size=4, unique_by=lambda record: record.id))),
        search=draw(st.dictionaries(words, words | numbers | st.integers(-(10**9), 10**9), max_size=3)),
    )


def example_candidate(index: int, members: int, device: str = "raspberrypi4") -> CandidateRecord:
    """Number `index` of a front of `members`; from there on, dominated ones."""
    on_front = index < members
    place = (index if on_front else (index * 7) % max(members, 1)) / max(members - 1, 1)
    latency_s = (0.0021 + 0.019 * place**1.6) * (1 if on_front else 1.15 + 0.1 * (index % 7))
    accuracy = 0.905 + 0.082 * (1 - math.exp(-3.2 * place)) - (0 if on_front else 0.004 + 0.006 * (index % 5))
    numeric = {"depth": 6 + index % 8, "width": 16 + 8 * (index % 4), "resolution": 16 + 4 * (index % 5), "kernel": 3 + 2 * (index % 3)}
    arch = Architecture("mobilenet_tiny", (*numeric.items(), ("trial", index)))
    finalist = on_front and index in (0, members // 3, members // 2, members - 1)
    found = {
        "accuracy_search": Metric(accuracy, "1", "supernet", std=0.008),
        "latency_s": Metric(latency_s, "s", "predicted", low=latency_s / 1.25, high=latency_s * 1.25),
        "energy_j": Metric(latency_s * 3.9, "J", "modelled", scope="board"),
        "macs": Metric(1e6 + 2.2e7 * place, "MAC", "counted"),
        "params": Metric(4e4 + 9e5 * place, "1", "counted"),
        "size_bytes": Metric(4 * (4e4 + 9e5 * place), "B", "counted"),
    }
    if finalist:
        found["accuracy_test"] = Metric(accuracy + 0.006, "1", "trained", std=0.007)
    candidate = Candidate(arch, Target(device, "onnxruntime", "1.22", "fp32", 1), found, trial=index)
    artifacts = {"onnx": f"models/{candidate.id}/model.onnx"} if finalist else {}
    title = f"{numeric['depth']} blocks, kernels 3-{numeric['kernel']}, up to {numeric['width']} channels at {numeric['resolution']} px"
    return CandidateRecord(candidate, on_front, finalist, on_front and index % 5 == 4, numeric, title, artifacts)


def example_front(members: int = 12, dominated: int = 40, device: str = "raspberrypi4", study: str = "digits-1") -> FrontRecord:
    return FrontRecord(
        study=study,
        device=device,
        space="mobilenet_tiny",
        data="digits",
        data_fingerprint="0123456789ab",
        objectives=("accuracy_search", "latency_s"),
        hypervolume=0.0123,
        reference_point=(-0.85, 0.03),
        candidates=tuple(example_candidate(index, members, device) for index in range(members + dominated)),
        search={"trials": members + dominated, "seconds": 93.4},
    )


def with_pruned(front: FrontRecord) -> FrontRecord:
    """Its first finalist once more, pruned: faster, tested, without a search accuracy, a little less accurate on search-validation."""
    candidates = tuple(_validated(each) if each.finalist else each for each in front.candidates)
    whole = front.finalists[0].candidate
    found = {name: metric for name, metric in whole.metrics.items() if name != "accuracy_search"}
    found["latency_s"] = Metric(0.7 * found["latency_s"].value, "s", "predicted")
    found["accuracy_validation"] = Metric(0.9, "1", "trained", std=0.008)
    candidate = Candidate(replace(whole.arch, widths=(("s1.b1.mid", 8),)), whole.target, found)
    artifacts = {"onnx": f"models/{candidate.id}/model.onnx"}
    record = CandidateRecord(candidate, on_front=False, finalist=True, title="pruned", artifacts=artifacts, note="pruned from another")
    return replace(front, candidates=(*candidates, record))


def _validated(each: CandidateRecord) -> CandidateRecord:
    known = each.candidate.metrics
    found = Metric(known["accuracy_search"].value + 0.004, "1", "trained", std=0.008)
    return replace(each, candidate=replace(each.candidate, metrics={**known, "accuracy_validation": found}))
