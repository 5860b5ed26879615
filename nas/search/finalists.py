"""From a member of the front to a model that ships: extracted, fine-tuned, tested, exported, checked, measured where it can be."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nas.architecture import Architecture
from nas.config import TrainRecipe
from nas.files import write_atomic
from nas.hardware.export import Deployed, Parity, check_onnx, deployment_metadata, export_onnx
from nas.metrics import Candidate, Metric
from nas.models.network import Network
from nas.models.weights import load_weights, save_weights
from nas.search.evaluators import EvaluatorContext, SupernetEvaluator
from nas.training.batches import Batch, tensors
from nas.training.data import ImageData, load_data
from nas.training.evaluate import accuracy_metric
from nas.training.finetune import finetune
from nas.training.loop import TrainProgress

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
    """Makes finalists of one study, from one supernet.

    Args:
        folder: of the study; models go to its models/<id>/.
        measure: runs an ONNX file on the target; None where it cannot be reached.
    """

    def __init__(self, context: EvaluatorContext, recipe: TrainRecipe, folder: Path, measure: Callable[[Path], Metric] | None) -> None:
        self._context = context
        self._recipe = recipe
        self._folder = folder
        self._measure = measure
        self._supernet = SupernetEvaluator(context)

    def make(
        self, candidate: Candidate, budget_s: float | None, on_progress: Callable[[TrainProgress], None], stop: Callable[[], bool]
    ) -> Finalist:
        """Everything that makes a finalist.

        Raises:
            StoppedError: `stop` said so; nothing of this finalist is kept.
            NasError: training diverged, or the exported file differs from torch.
        """
        blocks = self._context.space.decode(candidate.arch)
        data = load_data(self._context.data, blocks[0].in_size, self._context.data_seed, self._context.cache)
        network, note = self._trained(candidate.arch, data, budget_s, on_progress, stop)
        deployed = Deployed(network, data.mean, data.std)
        home = self._folder / "models" / candidate.id
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
        files = {"onnx": "model.onnx", "weights": "weights.safetensors", "architecture": "architecture.json", "card": "card.md"}
        return Finalist(made, {kind: f"models/{candidate.id}/{name}" for kind, name in files.items()}, note)

    def _trained(
        self,
        arch: Architecture,
        data: ImageData,
        budget_s: float | None,
        on_progress: Callable[[TrainProgress], None],
        stop: Callable[[], bool],
    ) -> tuple[Network, str]:
        network = self._supernet.extract(arch)
        for path in sorted((self._folder / "models").glob(f"{arch.arch_id}-*/weights.safetensors")):
            # A finalist of another device: the network is the same, so it is not trained again.
            weights, state = load_weights(path)
            network.load_state_dict(weights)
            return network, str(state["note"])
        space = self._context.space
        teacher = None if arch == space.largest else self._supernet.extract(space.largest)
        result = finetune(
            network, teacher, data, self._recipe, self._context.data_seed, budget_s=budget_s, on_progress=on_progress, stop=stop
        )  # fmt: skip
        if result is None:
            return network, "fine-tuning did not help on search-validation: weights as inherited from the supernet"
        return network, f"fine-tuned for {result.epochs} epochs ({result.seconds:.0f} s)"


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
