"""Finalists once more with fewer channels (`nas search --prune`): what pruning makes of them joins them where it earns a place.

It is judged by what the trained networks do on search-validation, against costs that are predicted in the same way: a network that another
one beats in all of them is left out, and the test images never see it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nas.errors import NasError, StoppedError
from nas.events import Event, Listener
from nas.metrics import Candidate, Constraint, Objective
from nas.preparation import Device, Prepared
from nas.schedule import Pace
from nas.search import storage
from nas.search.evaluators import EvaluatorContext
from nas.search.finalists import TRAIN_SHARE, Finalist, FinalistMaker
from nas.search.judging import unbeaten
from nas.search.kept import keep_finalist, keep_pruned, read_finalist, read_pruned, whole_finalist
from nas.search.pruned import Pruned, Pruner
from nas.search.scoring import BaseScorer
from nas.target import Target
from nas.training.loop import TrainProgress

__all__ = ["Made", "Workshop", "kept_pruned", "left_to_prune", "prune_finalists", "why_left_out", "with_pruned"]

Made = tuple[dict[str, Finalist], dict[str, str]]
"""Finalists of a device and, of those that failed, why: by candidate id."""
Telling = Callable[[Listener, str], Callable[[TrainProgress], None]]
"""Who listens to a training, by its name."""


@dataclass(frozen=True)
class Workshop:
    """Where the finalists of one device are pruned and shipped.

    Attributes:
        maker: of finalists, for a target.
        pruners: by target; nothing is pruned for others.
        pace: of the networks that are still to be made.
        later: of them, those of devices after this one.
    """

    maker: Callable[[Target], FinalistMaker]
    pruners: Mapping[Target, Pruner]
    telling: Telling
    on_event: Listener
    stop: Callable[[], bool]
    pace: Pace
    later: int = 0

    def budget_s(self, trainings: int, files: int) -> float | None:
        """Of one of the device's trainings that are left, when files of so many of its networks are to be made."""
        return self.pace.share_s(trainings + self.later, files + self.later)


def prune_finalists(
    prepared: Prepared, context: EvaluatorContext, folder: Path, studies: Sequence[storage.Study], made: Sequence[Made],
    maker: Callable[[Device, Target], FinalistMaker], telling: Telling, on_event: Listener, stop: Callable[[], bool],
    pace: Pace,
) -> list[Made]:  # fmt: skip
    """The finalists of every device, with their pruned forms where they earn it.

    Args:
        folder: of the study.
        pace: of the time that making the finalists left.

    Raises:
        StoppedError: `stop` said so; what was done is kept with the studies.
    """
    config, share, found = prepared.config, prepared.config.prune, []
    if share is None:
        return list(made)
    teacher = None if config.teacher is None else Path(config.teacher)
    for number, (device, study, (finalists, notes)) in enumerate(zip(prepared.devices, studies, made, strict=True)):
        fp32 = [scorer for scorer in device.scorer.all if scorer.target.precision == "fp32"]
        pruners = {scorer.target: Pruner(context, config.recipe, folder, scorer, share, teacher) for scorer in fp32}
        later = sum(len(others) for others, _ in made[number + 1 :])
        shop = Workshop(partial(maker, device), pruners, telling, on_event, stop, pace, later)
        found.append((with_pruned(prepared, study, finalists, shop), notes))
    return found


def with_pruned(prepared: Prepared, study: storage.Study, finalists: Mapping[str, Finalist], shop: Workshop) -> dict[str, Finalist]:
    """The finalists, and those of their pruned forms that earn a place beside them. What an earlier run made is not made again.

    Raises:
        StoppedError: the workshop was stopped; what was done is kept with the study.
    """
    share = prepared.config.prune
    targets = {name: each.candidate.target for name, each in finalists.items()}
    able = {name: shop.pruners[target] for name, target in targets.items() if target in shop.pruners}
    if share is None or not finalists:
        return dict(finalists)
    if not able:
        shop.on_event(Event("info", "no finalist is pruned: none of them is in fp32"))
        return dict(finalists)
    device = next(iter(targets.values())).device
    text = f"Pruning {len(able)} finalist{'s' if len(able) != 1 else ''} on {device} to {share:.0%} of the predicted latency"
    shop.on_event(Event("phase", text, fields={"phase": "finalists"}))
    known = {name: able[name].judged(each) if name in able else each for name, each in finalists.items()}
    candidates, fresh = _candidates(study, known, able, shop)
    judged = [*(each.candidate for name, each in known.items() if name in able), *candidates.values()]
    earned = dict(known)
    for number, (name, candidate) in enumerate(candidates.items()):
        words = why_left_out(candidate, judged, prepared.front_objectives, prepared.config.constraints)
        if words:
            shop.on_event(Event("info", f"{name} pruned to {share:.0%} of its latency is left out: {words}"))
            able[name].forget(candidate)
            continue
        ready = _shipped(study, known[name], candidate, fresh.get(name), able[name], shop, len(candidates) - number)
        if ready is not None:
            earned[ready.candidate.id] = ready
    return earned


def _candidates(
    study: storage.Study, finalists: Mapping[str, Finalist], pruners: Mapping[str, Pruner], shop: Workshop
) -> tuple[dict[str, Candidate], dict[str, Pruned]]:
    """What each finalist is pruned to, and the networks of those that no earlier run pruned; by id of the finalist."""
    candidates: dict[str, Candidate] = {}
    fresh: dict[str, Pruned] = {}
    for number, (name, pruner) in enumerate(pruners.items()):
        found = _kept(study, finalists[name].candidate, pruner.scorer, pruner.share)
        if found is None:
            made = _pruned(study, finalists[name], pruner, shop, shop.budget_s(len(pruners) - number, len(pruners)))
            if made is None:
                continue
            fresh[name], found = made, made.candidate
        candidates[name] = found
    return candidates, fresh


def kept_pruned(
    prepared: Prepared, device: Device, study: storage.Study, finalists: Mapping[str, Finalist], folder: Path
) -> dict[str, Finalist]:
    """The finalists, and those of their pruned forms that earlier runs shipped to the study's folder: nothing is made."""
    share, found = prepared.config.prune, dict(finalists)
    scorers = {scorer.target: scorer for scorer in device.scorer.all}
    for each in finalists.values():
        if share is None or each.candidate.target not in scorers:
            continue
        candidate = _kept(study, each.candidate, scorers[each.candidate.target], share)
        shipped = None if candidate is None else read_finalist(study, candidate)
        if shipped is not None and "onnx" in shipped.present(folder).artifacts:
            found[shipped.candidate.id] = shipped
    return found


def left_to_prune(
    prepared: Prepared, device: Device, study: storage.Study, candidates: Sequence[Candidate], made: Mapping[str, Finalist], folder: Path
) -> int:  # fmt: skip
    """Of how many finalists of a device the pruned form is still to be made, or made anew, and shipped: those that earn no place are not.

    Args:
        candidates: that are to be finalists.
        made: those of them that earlier runs made.
    """
    share = prepared.config.prune
    scorers = {scorer.target: scorer for scorer in device.scorer.all if scorer.target.precision == "fp32"}
    able = [candidate for candidate in candidates if candidate.target in scorers]
    if share is None:
        return 0
    found = {each.id: _kept(study, each, scorers[each.target], share) for each in able}
    pruned = [candidate for candidate in found.values() if candidate is not None]
    whole = [made[each.id].candidate for each in able if each.id in made]
    judged = [*(each for each in whole if "accuracy_validation" in each.metrics), *pruned]
    missing = len(able) - len(pruned)
    for candidate in pruned:
        is_there = whole_finalist(study, candidate, folder) is not None
        missing += not is_there and not why_left_out(candidate, judged, prepared.front_objectives, prepared.config.constraints)
    return missing


def _kept(study: storage.Study, parent: Candidate, scorer: BaseScorer, share: float) -> Candidate | None:
    """What an earlier run pruned a finalist to, with its costs as they are predicted now."""
    known = read_pruned(study, parent, share)
    if known is None:
        return None
    arch, accuracy, _ = known
    return Candidate(arch, parent.target, {"accuracy_validation": accuracy, **scorer.metrics(arch)}, parent.trial)


def _pruned(study: storage.Study, parent: Finalist, pruner: Pruner, shop: Workshop, budget_s: float | None) -> Pruned | None:
    """The pruned network, trained, and kept with the study; None, and told, where that cannot be."""
    if shop.stop():
        raise StoppedError("stopped before a finalist was pruned: those before it are saved")
    try:
        share_s = None if budget_s is None else TRAIN_SHARE * budget_s
        made = pruner.prune(parent, share_s, shop.telling(shop.on_event, f"{parent.candidate.id} pruned"), shop.stop)
    except StoppedError:
        raise
    except NasError as exc:
        shop.on_event(Event("warning", f"{parent.candidate.id} cannot be pruned: {exc}"))
        return None
    keep_pruned(study, parent.candidate, pruner.share, made.candidate, made.note)
    return made


def why_left_out(
    candidate: Candidate, others: Sequence[Candidate], objectives: Sequence[Objective], constraints: Sequence[Constraint]
) -> str:
    """Why a pruned network earns no place beside others, with figures; empty where it does.

    Args:
        candidate: with accuracy_validation, as the others are.
        objectives: of the front; its accuracy is accuracy_validation here.
        constraints: of the search; a bound of accuracy_search is one of accuracy_validation here.
    """
    accuracy = candidate.metrics["accuracy_validation"].value
    for bound in constraints:
        if bound.metric == "accuracy_search" and not bound.holds(accuracy):
            return f"{_figures(candidate)}, where an accuracy of {bound.bound:g} is asked for"
    for other in others:
        if other.id != candidate.id and not unbeaten([candidate, other], objectives)[0]:
            return f"{_figures(candidate)}, and {other.id} has {_figures(other)}"
    return ""


def _figures(candidate: Candidate) -> str:
    latency_s, accuracy = (candidate.metrics[name].value for name in ("latency_s", "accuracy_validation"))
    return f"{accuracy:.4f} on search-validation in {1e3 * latency_s:.3g} ms (predicted)"


def _shipped(
    study: storage.Study, parent: Finalist, candidate: Candidate, made: Pruned | None, pruner: Pruner, shop: Workshop, left: int
) -> Finalist | None:
    """Tested and exported, or as an earlier run left it; None, and told, where that failed."""
    kept = whole_finalist(study, candidate, pruner.folder)
    if kept is not None:
        return kept
    made = made or _pruned(study, parent, pruner, shop, shop.budget_s(left, left))
    if made is None:
        return None
    try:
        ready = shop.maker(candidate.target).ship(
            made.candidate, made.network, made.note, shop.budget_s(left, left), shop.telling(shop.on_event, made.candidate.id), shop.stop,
            parent.candidate,
        )  # fmt: skip
    except StoppedError:
        raise
    except NasError as exc:
        shop.on_event(Event("warning", f"{made.candidate.id} failed as a finalist: {exc}"))
        return None
    keep_finalist(study, ready)
    shop.pace.shipped(ready.files_s)
    shop.on_event(Event("finalist", f"{ready.candidate.id}: {_figures(ready.candidate)}, {ready.note}"))
    if ready.doubt:
        shop.on_event(Event("warning", f"{ready.candidate.id}: {ready.doubt}"))
    return ready
