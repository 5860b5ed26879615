"""From a member of the front to a model that ships: extracted, fine-tuned, tested, exported, checked, measured where it can be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nas.architecture import Architecture
from nas.config import TrainRecipe
from nas.errors import TrainingError
from nas.files import write_atomic
from nas.hardware.export import Deployed, Parity, check_onnx, deployment_metadata, export_onnx
from nas.metrics import Candidate, Metric
from nas.models.network import Network, recalibrate
from nas.models.weights import load_weights, save_weights
from nas.search.evaluators import EvaluatorContext, threads_each
from nas.search.evaluators.from_scratch import fresh_network
from nas.search.evaluators.supernet import SupernetEvaluator
from nas.training.batches import Batch, tensors
from nas.training.checkpoints import Checkpoints
from nas.training.data import ImageData
from nas.training.evaluate import accuracy_metric, calibration_images
from nas.training.finetune import fit
from nas.training.loop import TrainProgress
from nas.training.teacher import Teacher, network_teacher, open_teacher

__all__ = ["Finalist", "FinalistMaker", "card"]


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
        blocks = self._context.space.decode(candidate.arch)
        data = self._context.images(blocks[0].in_size)
        home = self._folder / "models" / candidate.id
        training = Checkpoints(home / "training")
        try:
            network, note = self._trained(candidate.arch, data, training.folder, budget_s, on_progress, stop)
        except TrainingError:  # the next try is to begin anew
            shutil.rmtree(home, ignore_errors=True)
            raise
        deployed = Deployed(network, data.mean, data.std)
        onnx_path = home / "model.onnx"
        export_onnx(deployed, blocks, onnx_path, deployment_metadata(candidate.arch, data.classes, data.mean, data.std))
        parity = check_onnx(onnx_path, deployed, pixels(data))
        # The accuracy of the file that ships, as its runtime classifies the test images.
        metrics = {**candidate.metrics, "accuracy_test": accuracy_metric(parity.correct, parity.images, "trained")}
        if self._measure is not None:
            metrics["latency_measured_s"] = self._measure(onnx_path)
        made = replace(candidate, metrics=metrics)
        state = {"schema": 1, "architecture": candidate.arch.to_dict(), "note": note}
        save_weights(home / "weights.safetensors", network.state_dict(), state)
        described = {"schema": 1, "architecture": candidate.arch.to_dict(), "blocks": [block.to_dict() for block in blocks]}
        write_atomic(home / "architecture.json", json.dumps(described, indent=1))
        write_atomic(home / "card.md", card(made, self._context.space.describe(candidate.arch), data, parity, note))
        training.clear()
        files = {"onnx": "model.onnx", "weights": "weights.safetensors", "architecture": "architecture.json", "card": "card.md"}
        return Finalist(made, {kind: f"models/{candidate.id}/{name}" for kind, name in files.items()}, note)

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


def pixels(data: ImageData) -> list[Batch]:
    """Test images as pixels 0..1, in batches of (images, labels)."""
    chs = data.in_chs
    return list(tensors(data.test, (0.0,) * chs, (1.0,) * chs, 256))


def card(candidate: Candidate, title: str, data: ImageData, parity: Parity, note: str) -> str:
    """The model card, Markdown."""
    lines = [
        f"# {candidate.id}",
        "",
        f"Image classifier for {len(data.classes)} classes of `{data.name}`, found by hwnas for {candidate.target.key}.",
        "",
        f"- Architecture ({candidate.arch.space}): {title}",
        f"- Input: float32 [batch, {data.in_chs}, {data.size}, {data.size}], pixels / 255; normalisation is inside the file",
        f"- Output: logits [batch, {len(data.classes)}], in the order: {', '.join(data.classes)}",
        f"- Data fingerprint: {data.fingerprint}",
        f"- Training: {note}",
        f"- Check: ONNX Runtime against torch on {parity.images} test images: largest difference of a logit {parity.max_error:.1e}, "
        f"same class on {parity.agreement:.2%}",
        "- Licence: not stated; that of the training images applies",
        "",
        "| metric | value | 90 % band or standard error | unit | source |",
        "|---|---|---|---|---|",
    ]
    for name, metric in candidate.metrics.items():
        spread = f"{metric.low:.6g} to {metric.high:.6g}" if metric.low is not None else f"± {metric.std:.2g}" if metric.std else ""
        scope = f" ({metric.scope})" if metric.scope else ""
        lines.append(f"| {name} | {metric.value:.6g} | {spread} | {metric.unit}{scope} | {metric.source} |")
    return "\n".join(lines) + "\n"
