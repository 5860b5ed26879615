"""How sure the figures of a study are, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nas.report.facts import PredictorFacts, StudyFacts
from nas.report.front import FrontRecord
from nas.report.highlights import ACCURACY
from nas.report.roofline import name_of
from nas.report.units import contradiction

__all__ = ["sentence", "sure_of_front", "sure_of_search"]


def sure_of_front(record: FrontRecord, predictor: PredictorFacts | None) -> Iterator[tuple[str, str]]:
    """(subject, sentence) pairs on a device's figures."""
    members = record.front
    sources = {each.candidate.metrics["latency_s"].source for each in members if "latency_s" in each.candidate.metrics}
    if predictor is not None and "predicted" in sources:
        for place, known in _by_place(predictor):
            on_it = [each for each in record.shown if not known.targets or each.candidate.target in known.targets]
            if on_it:
                who = "members of the front and pruned finalists" if any(each.pruned for each in on_it) else "members of the front"
                yield from _sure_of_latency([each.id for each in on_it], who, known, place)
    yield from _measured(record)
    errors = sorted(
        metric.std for each in members if (metric := each.candidate.metrics.get(ACCURACY)) is not None and metric.std is not None
    )
    if errors:
        source = members[0].candidate.metrics[ACCURACY].source
        spread = " to ".join(dict.fromkeys(f"{100 * error:.2g}" for error in (errors[0], errors[-1])))
        yield (
            "Search accuracy",
            f"From the {source}: one standard error is {spread} points. It ranks candidates; training gives other values.",
        )
    tied = sum(each.tied for each in members)
    if tied:
        yield "Ties", f"{tied} of {len(members)} members of the front gain so little over a faster one that it may be chance (marked ≈)."
    if record.finalists:
        count = sum(each.pruned for each in record.finalists)
        some = f" ({count} of them pruned)" if count else ""
        yield (
            "Test accuracy",
            f"{len(record.finalists)} finalists{some}, each tested once, as the exported file; nothing was selected on these images.",
        )
    if any(each.candidate.metrics["energy_j"].source == "modelled" for each in members if "energy_j" in each.candidate.metrics):
        yield (
            "Energy",
            "Modelled as the power at that many busy cores times latency: on one target it follows latency and is no evidence of its own.",
        )
    for each in record.candidates:
        if each.note and not each.finalist:  # finalists tell theirs beside their drawing
            yield each.id, sentence(each.note)


def _measured(record: FrontRecord) -> Iterator[tuple[str, str]]:
    """How the predictions of the finalists that ran on the target came out."""
    tried = [each for each in record.finalists if {"latency_measured_s", "latency_s"} <= set(each.candidate.metrics)]
    told = [f"{each.id} ({words})" for each in tried if (words := contradiction(each.candidate.metrics))]
    if told:
        yield "Measured", f"{len(told)} of {len(tried)} finalists that ran on the target: {'; '.join(told)}. Count on what was measured."
    elif tried:
        yield "Measured", f"Each of {len(tried)} finalists that ran on the target took a time inside the band of its prediction."


def _by_place(predictor: PredictorFacts) -> Iterator[tuple[str, PredictorFacts]]:
    """The predictors of a device, each with a word on the targets that it answers for where there are several."""
    every = (predictor, *predictor.others)
    among = [target for each in every for target in each.targets]
    for each in every:
        yield ", " + " and ".join(name_of(target, among) for target in each.targets) if predictor.others else "", each


def _sure_of_latency(members: Sequence[str], who: str, predictor: PredictorFacts, place: str) -> Iterator[tuple[str, str]]:
    """On what a model predicted for members of a front, given by id.

    Args:
        who: what they are.
        place: added to the subject, where the device has another predictor too.
    """
    held = "nothing was held out" if predictor.held_out_error is None else f"held-out error {100 * predictor.held_out_error:.1f} %"
    made = (
        f"a model fitted to {predictor.measurements} latencies" if predictor.measurements else "a model that nothing measured was fitted to"
    )
    origin = f": {predictor.source}" if predictor.source else ""
    yield f"Latency{place}", f"Predicted by {made}{origin}; {held}; 90 % band ×/÷ {predictor.band:.2f} inside the measured range."
    if not predictor.measurements:
        yield f"Range{place}", "Nothing was measured on this device: every figure is an extrapolation."
    elif predictor.outside:
        outside = [name for name in members if name in predictor.outside]
        words = f"{len(outside)} of {len(members)} {who} spend more than a quarter of their predicted time in operators"
        yield f"Range{place}", f"{words} unlike those measured, so their bands are wider: {', '.join(outside)}."
    else:
        yield f"Range{place}", f"All {who} are inside the range of what was measured."


def sentence(note: str) -> str:
    """A note with a capital and a full stop."""
    return f"{note[:1].upper()}{note[1:]}{'' if note.endswith('.') else '.'}" if note else ""


def sure_of_search(facts: StudyFacts) -> Iterator[tuple[str, str]]:
    """(subject, sentence) pairs on the search itself."""
    for device, pairs in facts.progress.items():
        if len(pairs) < 5 or not pairs[-1][1]:
            continue
        trials = pairs[-1][0]
        before = max((pair for pair in pairs if pair[0] <= 0.8 * trials), default=pairs[0])
        gain = 1 - before[1] / pairs[-1][1]
        yield f"Search, {device}", f"The last {trials - before[0]} of {trials} trials added {100 * gain:.1f} % of the hypervolume."
    warnings = [str(event.get("text", "")) for event in facts.log if event.get("kind") == "warning"]
    for text in dict.fromkeys(warnings):
        yield "Warning", text
