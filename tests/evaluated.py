"""What a search might have evaluated, without a search."""

from __future__ import annotations

from nas.metrics import Candidate, Metric
from nas.preparation import Prepared
from nas.search.storage import Evaluated


def evaluated(prepared: Prepared, count: int = 20) -> list[list[Evaluated]]:
    """Networks on all targets of each device, the first target's first: the larger one is, the more accurate, from 0.5 to 0.9."""
    archs = list(dict.fromkeys(prepared.space.decode_rows(prepared.space.sample_rows(count, 1))))
    found = []
    for device in prepared.devices:
        macs = [device.scorer.metrics(arch)["macs"].value for arch in archs]
        accuracies = [Metric(0.5 + 0.4 * each / max(macs), "1", "supernet", std=0.01) for each in macs]
        found.append([
            Evaluated(Candidate(arch, scorer.target, {**scorer.metrics(arch), "accuracy_search": accuracy}, number), 0.1)
            for scorer in device.scorer.all for number, (arch, accuracy) in enumerate(zip(archs, accuracies, strict=True))
        ])  # fmt: skip
    return found
