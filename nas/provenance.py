"""Where the accuracies of a study come from: one source from its first candidate to its last, also over a resume and a warm start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from nas.architecture import Architecture
from nas.config import SearchConfig
from nas.errors import StudyError
from nas.estimating import estimate
from nas.events import Listener
from nas.metrics import Metric
from nas.opening import STORAGE, facts_of, own_storage
from nas.preparation import Prepared
from nas.remaining import Left
from nas.report.study import devices_of, load_config
from nas.schedule import TRAIN_SHARE
from nas.search import storage
from nas.search.evaluators import EvaluatorContext, accuracy_evaluator
from nas.training.oneshot import build_supernet
from nas.training.parallel import alone_here
from nas.training.reuse import FINETUNING, ONESHOT, SupernetJob

__all__ = ["Earlier", "as_begun", "context_of", "earlier", "keep_supernet", "supernet_job"]

_SUPERNET = "supernet"
"""Attribute of the study that keeps the clock: the folder of the supernet that gives its accuracies."""


@dataclass(frozen=True)
class Earlier:
    """What a new study takes over from those that `--warm-start` names.

    Attributes:
        accuracies: by architecture; of one that several studies have, the last one's.
        supernet: that they are of; None where nobody kept it, or they come from elsewhere.
    """

    accuracies: dict[Architecture, Metric] = field(default_factory=dict)
    supernet: str | None = None


def supernet_job(prepared: Prepared) -> SupernetJob:
    """The supernet that a new search would have: one serves every search with the same space, data, recipe and seed."""
    config = prepared.config
    budget_s = TRAIN_SHARE * config.time_budget_s if config.time_budget_s else None
    first = Path(config.weights) if config.weights else None
    return SupernetJob(prepared.space, prepared.data, config.recipe, config.seed, prepared.cache, budget_s, first)


def as_begun(job: SupernetJob, study: storage.Study) -> SupernetJob:
    """The training that a study began with, however long a new one might take and whatever was trained since.

    Args:
        study: that keeps the clock.

    Raises:
        StudyError: its accuracies are of weights that are gone and cannot be made again.
    """
    name = study.user_attrs.get(_SUPERNET)
    if name is None:
        return job
    begun = job.named(name)
    if not storage.evaluated(study):  # it was being trained: it goes on
        return replace(job, budget_s=begun.budget_s) if begun.key == job.key else job
    if begun.key != job.key and begun.found() is None:
        raise StudyError(
            f"the accuracies of study {study.study_name} are of a supernet that is gone ({begun.home()}), and that would be trained "
            "otherwise today: put it back, or start a new study"
        )
    return begun


def context_of(
    prepared: Prepared, study: storage.Study, on_event: Listener, stop: Callable[[], bool], left: Left | None = None
) -> EvaluatorContext:  # fmt: skip
    """What evaluators and finalists are given; with a trained supernet where the evaluator needs one.

    Args:
        study: that keeps which supernet that is.
        left: to do besides the supernet: what it will take is told first. None to tell nothing.
    """
    config = prepared.config
    if "supernet" in accuracy_evaluator(config.evaluator).needs:
        context = _supernet(prepared, study, on_event, stop, left)
    else:
        if left is not None:
            on_event(estimate(prepared, None, trained=False, left=left).event())
        context = EvaluatorContext(prepared.space, config.data, config.seed, prepared.cache, None)
    table = None if config.table is None else Path(config.table)
    return replace(context, content=prepared.data.content, recipe=config.recipe, halving=config.halving, table=table)


def _supernet(
    prepared: Prepared, study: storage.Study, on_event: Listener, stop: Callable[[], bool], left: Left | None
) -> EvaluatorContext:  # fmt: skip
    """Trains the supernet, or finds it trained; a study keeps to the one that it began with."""
    config = prepared.config
    job = as_begun(supernet_job(prepared), study)
    found = job.found()
    if left is not None:
        on_event(estimate(prepared, build_supernet(prepared.space, config.seed), trained=found is not None, left=left).event())
    keep_supernet(study, (found.parent if found else job.home()).name)
    weights = job.run(on_event, stop, alone_here()).path
    keep_supernet(study, weights.parent.name)
    return EvaluatorContext(prepared.space, config.data, config.seed, prepared.cache, weights)


def keep_supernet(study: storage.Study, folder: str) -> None:
    """Keeps with a study which supernet is its own."""
    if study.user_attrs.get(_SUPERNET) != folder:
        study.set_user_attr(_SUPERNET, folder)


def earlier(prepared: Prepared, runs: Path) -> Earlier:
    """What the studies know that the configuration names.

    Raises:
        StudyError: one is not there, or its accuracies are of another space, data or source, so that they cannot be compared.
    """
    found = Earlier()
    for name in prepared.config.warm_start:
        accuracies, supernet = _told(prepared, runs / name)
        if supernet is not None and found.supernet not in (None, supernet):
            raise StudyError(
                f"--warm-start {name}: its accuracies are of supernet {supernet}, others' of {found.supernet}: name one of them"
            )
        found = Earlier({**found.accuracies, **accuracies}, supernet or found.supernet)
    return found


def _told(prepared: Prepared, folder: Path) -> tuple[dict[Architecture, Metric], str | None]:
    """Accuracies of an earlier study, and its supernet."""
    name = folder.name
    if not (folder / "config.json").is_file():
        raise StudyError(f"--warm-start {name}: {folder / 'config.json'} is absent: nas studies lists what there is")
    old, _ = load_config(folder)
    if old.storage is None and not (folder / STORAGE).is_file():
        raise StudyError(f"--warm-start {name}: {folder / STORAGE} is absent: nas studies lists what there is")
    _check_source(prepared.config, old)
    store = own_storage(folder) if old.storage is None else storage.open_storage(old.storage)
    accuracies: dict[Architecture, Metric] = {}
    supernet = None
    for study in storage.studies_of(store, name, devices_of(folder)):
        candidates = storage.candidates_of(study, facts_of(prepared))
        accuracies |= {candidate.arch: candidate.metrics["accuracy_search"] for candidate in candidates}
        supernet = study.user_attrs.get(_SUPERNET, supernet)
    job = supernet_job(prepared)
    if supernet is not None and job.named(supernet).key != job.key:
        raise StudyError(
            f"--warm-start {name}: its supernet was trained with another recipe, seed or first weights, so that accuracies cannot be "
            "compared: search with the same, or without --warm-start"
        )
    return accuracies, supernet


def _check_source(config: SearchConfig, old: SearchConfig) -> None:
    """Raises StudyError where accuracies of two configurations cannot be compared, as far as their options tell."""
    if old.evaluator != config.evaluator:
        raise StudyError(
            f"--warm-start {old.study}: its accuracies are of {old.evaluator}, these of {config.evaluator}: search with the same"
        )
    needs = accuracy_evaluator(config.evaluator).needs
    if "table" in needs and old.table != config.table:
        raise StudyError(f"--warm-start {old.study}: its accuracies are of table {old.table}, these of {config.table}: name the same")
    trained = {*FINETUNING, *ONESHOT}
    alike = old.recipe.model_dump(exclude=trained) == config.recipe.model_dump(exclude=trained) and old.halving == config.halving
    if not needs and not alike:
        raise StudyError(f"--warm-start {old.study}: its networks were trained with another recipe: search with the same")
