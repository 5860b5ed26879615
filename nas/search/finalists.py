"""From a member of the front to a model that ships: extracted, fine-tuned, tested, exported, checked, measured where it can be."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

from nas.architecture import Architecture, BlockSpec
from nas.config import TrainRecipe
from nas.errors import DisturbedError, TrainingError
from nas.files import locked, whole_folder, write_atomic
from nas.metrics import Candidate, Metric
from nas.models.folding import fold_batch_norm
from nas.models.network import Network, recalibrate
from nas.models.weights import load_weights
from nas.search.artifacts import FILES, ArtifactMaker, Artifacts, copy_artifacts, refuse_folders, unless_stopped
from nas.search.card import CardFacts, Description, Origin, card, is_of_another
from nas.search.evaluators import EvaluatorContext, threads_each
from nas.search.evaluators.from_scratch import fresh_network
from nas.search.evaluators.supernet import SupernetEvaluator
from nas.target import Target
from nas.training.answers import kept_answers
from nas.training.batches import tensors
from nas.training.checkpoints import Checkpoints
from nas.training.data import ImageData
from nas.training.evaluate import accuracy, accuracy_metric, calibration_images, images_at_once
from nas.training.finetune import fit
from nas.training.loop import TrainProgress
from nas.training.teacher import NetworkTeacher, Teacher, open_teacher

__all__ = ["MAKING", "TRAINING", "TRAIN_SHARE", "Finalist", "FinalistMaker", "validated"]

TRAINING = "training"
"""Folder beside a finalist's files while it is trained: its checkpoints."""
MAKING = ".making"
"""Folder of a study: a lock for each candidate that some process makes a finalist."""
TRAIN_SHARE = 0.8
"""Of a finalist's time; the rest is for training with rounding, should int8 need it."""
OF_FILES = frozenset({"accuracy_test", "accuracy_test_int8", "latency_measured_s", "latency_int8_s"})
"""Figures of the files that ship: a candidate whose files are made again has those of the ones before."""


@dataclass(frozen=True, slots=True)
class Finalist:
    """A candidate with what became of it.

    Attributes:
        artifacts: kind to path relative to the study's folder.
        note: one sentence: what fine-tuning did, and why a latency was not measured.
        doubt: what to warn of about its int8 file (`Artifacts.doubt`), when it was made just now.
        files_s: seconds that its files, their checks and measurements took, when they were made just now.
    """

    candidate: Candidate
    artifacts: Mapping[str, str]
    note: str
    doubt: str = ""
    files_s: float = field(default=0.0, compare=False)

    def to_dict(self) -> dict[str, object]:
        metrics = {name: metric.to_dict() for name, metric in self.candidate.metrics.items()}
        return {"metrics": metrics, "artifacts": dict(self.artifacts), "note": self.note}

    def present(self, folder: Path) -> Finalist:
        """With those of its files that are still there, in the folder of its study: with none where they are another network's."""
        if is_of_another(folder / self.artifacts.get("architecture", "-"), self.candidate.arch):
            return replace(self, artifacts={})
        return replace(self, artifacts={kind: path for kind, path in self.artifacts.items() if (folder / path).is_file()})


class FinalistMaker:
    """Makes finalists of one study: from one supernet, or each from scratch where the search had none.

    Args:
        folder: of the study; models go to its models/<id>/.
        measure: runs an ONNX file on the target; None where it cannot be reached.
        teacher: ONNX file that they learn from; None for the largest network of the supernet.
        int8_latency: of blocks, where the target is not reached and something is known of its int8; else None.
        supernet: opens what the networks are taken from, for makers that share it; None to open the context's.
    """

    def __init__(
        self, context: EvaluatorContext, recipe: TrainRecipe, folder: Path, measure: Callable[[Path], Metric] | None,
        teacher: Path | None = None, int8_latency: Callable[[Sequence[BlockSpec]], Metric] | None = None,
        supernet: Callable[[], SupernetEvaluator] | None = None,
    ) -> None:  # fmt: skip
        self._context = context
        self._recipe = recipe
        self._folder = folder
        self._measure = measure
        self._int8_latency = int8_latency
        self._teacher_path = teacher
        self._open = supernet or partial(SupernetEvaluator, context)

    @cached_property
    def _supernet(self) -> SupernetEvaluator | None:
        """Opened when a network is taken from it: what only ships needs none."""
        return None if self._context.weights is None else self._open()

    def make(
        self, candidate: Candidate, budget_s: float | None, on_progress: Callable[[TrainProgress], None], stop: Callable[[], bool]
    ) -> Finalist:
        """Everything that makes a finalist. The test images are looked at once, when its file is there.

        Raises:
            StoppedError: `stop` said so; its training is saved and goes on when it is made again.
            InputError: a folder has the name of one of its files.
            NasError: training diverged, the exported file differs from torch, or another process makes it.
        """
        data = self._images(candidate.arch)
        home = self._folder / "models" / candidate.id
        refuse_folders(home)
        share_s = None if budget_s is None else TRAIN_SHARE * budget_s
        with locked(self._folder / MAKING / f"{candidate.id}.lock", f"{candidate.id} is being made by another process: wait until it ends"):
            try:
                network, note = self._trained(candidate.arch, data, home / TRAINING, share_s, on_progress, stop)
            except TrainingError:  # the next try is to begin anew
                shutil.rmtree(home, ignore_errors=True)
                raise
            return self.ship(candidate, network, note, None if budget_s is None else (1 - TRAIN_SHARE) * budget_s, on_progress, stop)

    def ship(
        self, candidate: Candidate, network: Network, note: str, budget_s: float | None, on_progress: Callable[[TrainProgress], None],
        stop: Callable[[], bool], origin: Candidate | None = None,
    ) -> Finalist:  # fmt: skip
        """Files, checks and card of a trained network. The test images are looked at here, once.

        Args:
            note: how it was trained.
            budget_s: for training with rounding, should int8 lose too much.
            origin: what it was pruned from.

        Raises:
            NasError: an exported file differs from torch.
            StoppedError: `stop` said so.
        """
        began = time.monotonic()
        arch, data, home = candidate.arch, self._images(candidate.arch), self._folder / "models" / candidate.id
        with whole_folder(home) as temporary:
            made = self._copied(arch, temporary)
            if made is None:
                maker = ArtifactMaker(data, self._recipe, self._context.data_seed)
                made = maker.write(temporary, network, arch, note, budget_s, on_progress, stop)
            figures, unmeasured = self._figures(candidate.target, made, network.blocks, temporary, stop)
            known = {name: metric for name, metric in candidate.metrics.items() if name not in OF_FILES}
            finished = replace(candidate, metrics={**known, **figures, "accuracy_validation": validated(network, data)})
            parent = None if origin is None else Origin.of(origin, finished)
            title = self._context.space.describe(arch)
            facts = CardFacts(title, data.name, data.fingerprint, note, unmeasured, parent, finished.metrics, candidate.id)
            write_atomic(temporary / FILES["facts"], json.dumps(facts.to_dict(), indent=1) + "\n")
            told = card(finished, facts, Description.read(temporary / FILES["architecture"]))
            unless_stopped(stop, partial(write_atomic, temporary / FILES["card"], told))
        Checkpoints(home / TRAINING).clear()
        files = {kind: f"models/{candidate.id}/{file}" for kind, file in FILES.items() if (home / file).is_file()}
        files_s = time.monotonic() - began - made.trained_s
        return Finalist(finished, files, "; ".join(filter(None, (note, unmeasured))), made.doubt, files_s)

    def _figures(
        self, target: Target, made: Artifacts, blocks: Sequence[BlockSpec], folder: Path, stop: Callable[[], bool]
    ) -> tuple[dict[str, Metric], str]:
        """What the files that ship do, as the target's runtime classifies the test images and, where it can be reached, on the target;
        beside an fp32 file the int8 one. And why a latency was not measured."""
        check, path = made.of(target.precision, target.runtime), folder / FILES["onnx_int8"]
        found = {"accuracy_test": accuracy_metric(check.correct, check.images, "trained")}
        files = {"latency_measured_s": path if target.precision == "int8" else folder / FILES["onnx"]}
        if target.precision != "int8" and path.is_file():
            small = made.of("int8", target.runtime)
            found["accuracy_test_int8"] = accuracy_metric(small.correct, small.images, "trained")
            files["latency_int8_s"] = path
            if self._measure is None and self._int8_latency is not None:
                found["latency_int8_s"] = self._int8_latency(blocks)
        measured, unmeasured = self._latencies(files, stop)
        return {**found, **measured}, unmeasured

    def _latencies(self, files: Mapping[str, Path], stop: Callable[[], bool]) -> tuple[dict[str, Metric], str]:
        """Of files on the target, by the metric's name; and in words those that the machine was too disturbed for. Training is not lost
        with a measurement."""
        found: dict[str, Metric] = {}
        disturbed: list[str] = []
        if self._measure is not None:
            for name, path in files.items():
                try:
                    found[name] = unless_stopped(stop, partial(self._measure, path))
                except DisturbedError as exc:
                    disturbed.append(f"latency of {path.name} not measured: {exc}")
        return found, "; ".join(disturbed)

    def _images(self, arch: Architecture) -> ImageData:
        return self._context.images(self._context.space.decode(arch)[0].in_size)

    def _copied(self, arch: Architecture, folder: Path) -> Artifacts | None:
        """Files of a finalist of another target: the network is the same, so nothing is made again."""
        for path in sorted((self._folder / "models").glob(f"{arch.arch_id}-*/{FILES['architecture']}")):
            if (found := copy_artifacts(path.parent, folder, arch)) is not None:
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
            if state["architecture"] != arch.to_dict():  # somebody copied it there
                continue
            network.load_state_dict(weights)
            return network, str(state["note"])
        recipe = self._recipe.of_finalists(has_teacher=self._teacher_path is not None)
        inherits = self._supernet is not None
        teacher, taught = self._teacher(arch, data) if recipe.distill_weight else (None, "")
        ask = None if teacher is None else partial(kept_answers, teacher, data, recipe, self._context.cache, stop)
        epochs, lr = (recipe.finetune_epochs, recipe.finetune_lr) if inherits else (recipe.epochs, recipe.lr)
        fitted = fit(
            network, ask, data, recipe, self._context.data_seed, epochs=epochs, lr=lr, budget_s=budget_s, checkpoint=checkpoint,
            on_progress=on_progress, stop=stop,
        )  # fmt: skip
        if not fitted.epochs:
            return network, str(fitted)
        return network, f"{'fine-tuned' if inherits else 'trained from scratch'}{taught} for {fitted}"

    def _untrained(self, arch: Architecture, data: ImageData) -> Network:
        """With inherited weights, or with fresh ones; batch norm recalibrated."""
        if self._supernet is not None:
            return self._supernet.extract_for(arch, data)
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
        return NetworkTeacher(self._supernet.extract(self._context.space.largest)), " with the largest network as teacher"


def validated(network: Network, data: ImageData) -> Metric:
    """Accuracy of a trained network, in eval mode, on search-validation."""
    batches = tensors(data.search_validation, data.mean, data.std, images_at_once(network.blocks))
    return accuracy_metric(*accuracy(fold_batch_norm(network), batches), "trained")
