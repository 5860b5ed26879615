"""A finalist once more with fewer channels: pruned to a share of its predicted latency, then fine-tuned as a finalist is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from nas.channels import Groups
from nas.compress.prune import prune_to_latency
from nas.config import TrainRecipe
from nas.errors import ModelFileError, TrainingError
from nas.metrics import Candidate
from nas.models.network import Network, recalibrate
from nas.models.weights import load_weights
from nas.search.artifacts import FILES
from nas.search.evaluators import EvaluatorContext, threads_each
from nas.search.finalists import TRAINING, Finalist, validated
from nas.search.scoring import BaseScorer
from nas.training.answers import kept_answers
from nas.training.batches import Batch, Batches
from nas.training.data import ImageData
from nas.training.evaluate import calibration_images
from nas.training.finetune import fit
from nas.training.loop import TrainProgress
from nas.training.teacher import NetworkTeacher, Teacher, open_teacher

__all__ = ["Pruned", "Pruner", "weighing_batches"]

WEIGHING_BATCHES, WEIGHING_BATCH_SIZE = 32, 64
"""Training images that channels are weighed with."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What pruning made of a finalist, before anybody looks at the test images.

    Attributes:
        candidate: with counted and predicted metrics, and accuracy_validation of the trained network.
        note: how it was made.
        network: trained, in eval mode.
    """

    candidate: Candidate
    note: str
    network: Network


@dataclass(frozen=True)
class Pruner:
    """Prunes the finalists of one study on one target.

    Attributes:
        folder: of the study.
        scorer: of the target.
        share: of the predicted latency that is left, 0..1.
        teacher: ONNX file that they learn from; without one the finalist that was pruned teaches, where the recipe wants it.
    """

    context: EvaluatorContext
    recipe: TrainRecipe
    folder: Path
    scorer: BaseScorer
    share: float
    teacher: Path | None = None

    def prune(
        self, parent: Finalist, budget_s: float | None, on_progress: Callable[[TrainProgress], None], stop: Callable[[], bool]
    ) -> Pruned:
        """The smaller network, trained. The same finalist gives the same channels again, so that a training that was stopped goes on.

        Raises:
            InfeasibleError: it cannot become that fast.
            ModelFileError: the finalist's weights are not those of its architecture.
            TrainingError: training diverged; the next try begins anew.
            StoppedError: `stop` said so; the training is saved.
        """
        context, arch = self.context, parent.candidate.arch
        whole = self._network(parent)
        data = context.images(whole.blocks[0].in_size)
        smaller = prune_to_latency(whole, weighing_batches(data, self.recipe, context.data_seed), self.scorer.latency_s, self.share)
        recalibrate(smaller, calibration_images(data))
        found = replace(arch, widths=tuple(Groups.of(whole.blocks).narrowed(smaller.blocks).items()))
        candidate = Candidate(found, parent.candidate.target, self.scorer.metrics(found), parent.candidate.trial)
        home = self.folder / "models" / candidate.id
        recipe = self.recipe.of_finalists(has_teacher=self.teacher is not None)
        teacher, taught = self._teacher(whole, data) if recipe.distill_weight else (None, "")
        ask = None if teacher is None else partial(kept_answers, teacher, data, recipe, context.cache, stop)
        try:
            fitted = fit(
                smaller, ask, data, recipe, context.data_seed, epochs=recipe.finetune_epochs, lr=recipe.finetune_lr,
                budget_s=budget_s, checkpoint=home / TRAINING, on_progress=on_progress, stop=stop,
            )  # fmt: skip
        except TrainingError:
            shutil.rmtree(home, ignore_errors=True)
            raise
        left = candidate.metrics["latency_s"].value / self.scorer.latency_s(whole.blocks)
        how = f"fine-tuned{taught}: {fitted}" if fitted.epochs else str(fitted)
        note = f"pruned from {parent.candidate.id} to {left:.0%} of its predicted latency, {how}"
        metrics = {"accuracy_validation": validated(smaller, data), **candidate.metrics}
        return Pruned(replace(candidate, metrics=metrics), note, smaller)

    def forget(self, candidate: Candidate) -> None:
        """Deletes what is left of the training of a network that is not wanted. Files that an earlier run shipped stay."""
        home = self.folder / "models" / candidate.id
        shutil.rmtree(home / TRAINING if (home / FILES["card"]).is_file() else home, ignore_errors=True)

    def judged(self, finalist: Finalist) -> Finalist:
        """With accuracy_validation, which finalists of earlier versions do not have."""
        if "accuracy_validation" in finalist.candidate.metrics:
            return finalist
        network = self._network(finalist)
        found = validated(network, self.context.images(network.blocks[0].in_size))
        candidate = replace(finalist.candidate, metrics={**finalist.candidate.metrics, "accuracy_validation": found})
        return replace(finalist, candidate=candidate)

    def _network(self, finalist: Finalist) -> Network:
        path = self.folder / finalist.artifacts["weights"]
        network = Network(self.context.space.decode(finalist.candidate.arch))
        try:
            network.load_state_dict(load_weights(path)[0])
        except RuntimeError as exc:
            raise ModelFileError(f"{path}: is not the network that its study says: delete the folder and resume the search") from exc
        return network.eval()

    def _teacher(self, whole: Network, data: ImageData) -> tuple[Teacher, str]:
        """Who teaches, and a few words on it for the record."""
        if self.teacher is None:
            return NetworkTeacher(whole), " with itself unpruned as teacher"
        found = open_teacher(self.teacher, data, threads_each(1))
        return found, f" with {found.path.name} as teacher"


def weighing_batches(data: ImageData, recipe: TrainRecipe, seed: int) -> list[Batch]:
    """Training images as the recipe changes them, normalised, with their labels: the same for the same seed."""
    plain = recipe.model_copy(update={"batch_size": WEIGHING_BATCH_SIZE, "micro_batch": 0})
    return list(islice(Batches.of(data, plain, seed).epoch(0), WEIGHING_BATCHES))
