"""From a member of the front to a model that ships: extracted, fine-tuned, tested, exported, checked, measured where it can be."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nas.architecture import Architecture
from nas.config import TrainRecipe
from nas.errors import TrainingError
from nas.files import whole_folder, write_atomic
from nas.metrics import Candidate, Metric
from nas.models.network import Network, recalibrate
from nas.models.weights import load_weights
from nas.search.artifacts import FILES, ArtifactMaker, Artifacts, copy_artifacts
from nas.search.card import card
from nas.search.evaluators import EvaluatorContext, threads_each
from nas.search.evaluators.from_scratch import fresh_network
from nas.search.evaluators.supernet import SupernetEvaluator
from nas.training.checkpoints import Checkpoints
from nas.training.data import ImageData
from nas.training.evaluate import accuracy_metric, calibration_images
from nas.training.finetune import fit
from nas.training.loop import TrainProgress
from nas.training.teacher import Teacher, network_teacher, open_teacher

__all__ = ["Finalist", "FinalistMaker"]

TRAIN_SHARE = 0.8
"""Of a finalist's time; the rest is for training with rounding, should int8 need it."""


@dataclass(frozen=True, slots=True)
class Finalist:
    """A candidate with what became of it.

    Attributes:
        artifacts: kind to path relative to the study's folder.
        note: one sentence: what fine-tuning did, or why it failed.
    """

    candidate: Candidate
    artifacts: Mapping[str, str]
    note: str

    def to_dict(self) -> dict[str, object]:
        metrics = {name: metric.to_dict() for name, metric in self.candidate.metrics.items()}
        return {"metrics": metrics, "artifacts": dict(self.artifacts), "note": self.note}


class FinalistMaker:
    """Makes finalists of one study: from one supernet, or each from scratch where the search had none.

    Args:
        folder: of the study; models go to its models/<id>/.
        measure: runs an ONNX file on the target; None where it cannot be reached.
        teacher: ONNX file that they learn from; None for the largest network of the supernet.
    """

    def __init__(
        self, context: EvaluatorContext, recipe: TrainRecipe, folder: Path, measure: Callable[[Path], Metric] | None,
        teacher: Path | None = None,
    ) -> None:  # fmt: skip
        self._context = context
        self._recipe = recipe
        self._folder = folder
        self._measure = measure
        self._teacher_path = teacher
        self._supernet = SupernetEvaluator(context) if context.weights is not None else None

    def make(
        self, candidate: Candidate, budget_s: float | None, on_progress: Callable[[TrainProgress], None], stop: Callable[[], bool]
    ) -> Finalist:
        """Everything that makes a finalist. The test images are looked at once, when its file is there.

        Raises:
            StoppedError: `stop` said so; its training is saved and goes on when it is made again.
            NasError: training diverged, or the exported file differs from torch.
        """
        arch, name = candidate.arch, candidate.id
        data = self._context.images(self._context.space.decode(arch)[0].in_size)
        home = self._folder / "models" / name
        training = Checkpoints(home / "training")
        share_s = None if budget_s is None else TRAIN_SHARE * budget_s
        try:
            network, note = self._trained(arch, data, training.folder, share_s, on_progress, stop)
        except TrainingError:  # the next try is to begin anew
            shutil.rmtree(home, ignore_errors=True)
            raise
        with whole_folder(home) as temporary:
            made = self._copied(arch, temporary)
            if made is None:
                rest_s = None if budget_s is None else (1 - TRAIN_SHARE) * budget_s
                maker = ArtifactMaker(data, self._recipe, self._context.data_seed)
                made = maker.write(temporary, network, arch, note, rest_s, on_progress, stop)
            # The accuracy of the file that ships, as its runtime classifies the test images.
            check = made.of(candidate.target.precision)
            metrics = {**candidate.metrics, "accuracy_test": accuracy_metric(check.correct, check.images, "trained")}
            if self._measure is not None:
                kind = "onnx_int8" if candidate.target.precision == "int8" else "onnx"
                metrics["latency_measured_s"] = self._measure(temporary / FILES[kind])
            finished = replace(candidate, metrics=metrics)
            told = card(finished, self._context.space.describe(arch), data, made.checks, note, made.int8)
            write_atomic(temporary / FILES["card"], told)
        training.clear()
        files = {kind: f"models/{name}/{file}" for kind, file in FILES.items() if (home / file).is_file()}
        return Finalist(finished, files, note)

    def _copied(self, arch: Architecture, folder: Path) -> Artifacts | None:
        """Files of a finalist of another target: the network is the same, so nothing is made again."""
        for path in sorted((self._folder / "models").glob(f"{arch.arch_id}-*/{FILES['architecture']}")):
            if (found := copy_artifacts(path.parent, folder)) is not None:
                return found
        return None

    def _trained(
        self,
        arch: Architecture,
        data: ImageData,
        checkpoint: Path,
        budget_s: float | None,
        on_progress: Callable[[TrainProgress], None],
        stop: Callable[[], bool],
    ) -> tuple[Network, str]:
        network = self._untrained(arch, data)
        for path in sorted((self._folder / "models").glob(f"{arch.arch_id}-*/weights.safetensors")):
            # A finalist of another device: the network is the same, so it is not trained again.
            weights, state = load_weights(path)
            network.load_state_dict(weights)
            return network, str(state["note"])
        recipe, teacher, taught = self._recipe, *self._teacher(arch, data)
        inherits = self._supernet is not None
        epochs, lr = (recipe.finetune_epochs, recipe.finetune_lr) if inherits else (recipe.epochs, recipe.lr)
        fitted = fit(
            network, teacher, data, recipe, self._context.data_seed, epochs=epochs, lr=lr, budget_s=budget_s, checkpoint=checkpoint,
            on_progress=on_progress, stop=stop,
        )  # fmt: skip
        if not fitted.epochs:
            return network, str(fitted)
        return network, f"{'fine-tuned' if inherits else 'trained from scratch'}{taught} for {fitted}"

    def _untrained(self, arch: Architecture, data: ImageData) -> Network:
        """With inherited weights, or with fresh ones; batch norm recalibrated."""
        if self._supernet is not None:
            return self._supernet.extract(arch)
        network = fresh_network(self._context.space.decode(arch), self._context.data_seed)
        recalibrate(network, calibration_images(data))
        return network

    def _teacher(self, arch: Architecture, data: ImageData) -> tuple[Teacher | None, str]:
        """Who teaches, and a few words on it for the record."""
        if self._teacher_path is not None:
            found = open_teacher(self._teacher_path, data, threads_each(1))
            return found, f" with {found.path.name} as teacher ({found.accuracy:.0%} of training images right, {found.scaling})"
        if self._supernet is None or arch == self._context.space.largest:
            return None, ""
        return network_teacher(self._supernet.extract(self._context.space.largest)), " with the largest network as teacher"
