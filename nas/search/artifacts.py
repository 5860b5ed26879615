"""The files of a model that ships, each run on the test images in the runtime that it is for, and what is known of them afterwards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from nas.architecture import Architecture, BlockSpec
from nas.compress.check import Check
from nas.compress.int8 import MOST_DROP, Int8, Int8Maker, pixels_of
from nas.compress.parity import TOLERANCE, Reference, check_onnx, check_openvino
from nas.config import TrainRecipe
from nas.errors import InputError, NasError, StoppedError, TargetError
from nas.files import digest_of, write_atomic
from nas.hardware.export import Deployed, deployment_metadata, export_onnx, export_openvino, fix_batch
from nas.models.network import Network
from nas.models.weights import save_weights
from nas.search.evaluators import threads_each
from nas.training.data import ImageData
from nas.training.loop import TrainProgress

__all__ = ["FILES", "MOST_INT8_DROP", "ArtifactMaker", "Artifacts", "copy_artifacts", "refuse_folders", "unless_stopped"]

T = TypeVar("T")
FILES: Mapping[str, str] = MappingProxyType(
    {
        "onnx": "model.onnx", "onnx_dynamic": "model.dynamic.onnx", "onnx_int8": "model.int8.onnx", "openvino": "model.xml",
        "openvino_weights": "model.bin", "labels": "labels.txt", "weights": "weights.safetensors", "architecture": "architecture.json",
        "card": "card.md", "facts": "card.json",
    }
)  # fmt: skip
"""Kind to name. model.onnx and the OpenVINO file take one image, model.dynamic.onnx any number."""
SINGLES = 256
"""Test images that a file of batch 1 is run on, one by one: its nodes and weights are those of the file with an open batch."""
MOST_INT8_DROP = 0.2
"""Of accuracy on search-validation: an int8 file that loses more is broken, not rounded. The test images decide nothing."""


@dataclass(frozen=True, slots=True)
class Artifacts:
    """What was written.

    Attributes:
        checks: of every file that a runtime opens; of a runtime and precision the first is on all test images.
        int8: how the int8 file was made, or why there is none.
        int8_lost: of accuracy on search-validation, by the int8 file; None where there is none, or an earlier version wrote it.
        trained_s: seconds of training with rounding, of what was written just now.
    """

    checks: tuple[Check, ...]
    int8: str
    int8_lost: float | None = None
    trained_s: float = field(default=0.0, compare=False)

    @property
    def doubt(self) -> str:
        """What to warn of: the int8 file was left out, or loses more than rounding should; empty where it is as it should be."""
        if not any(check.precision == "int8" for check in self.checks):
            return f"there is no int8 file: {self.int8}"
        if self.int8_lost is None or self.int8_lost <= MOST_DROP:
            return ""
        return f"the int8 file loses {100 * self.int8_lost:.2f} points: {self.int8}"

    def of(self, precision: str, runtime: str) -> Check:
        """How a runtime's file of a precision does on all test images; ONNX Runtime's where that runtime is one that no file was run in.

        Raises:
            TargetError: there is no such file; says why.
        """
        found = {check.runtime.split()[0]: check for check in reversed(self.checks) if check.precision == precision}
        if not found:
            raise TargetError(f"there is no {precision} file: {self.int8}")
        return found.get(runtime, found["onnxruntime"])

    @classmethod
    def read(cls, folder: Path, arch: Architecture) -> Artifacts | None:
        """Of a network's folder that was written earlier; None where a file is absent or not as it was, or all are of another network."""
        try:
            told = json.loads((folder / FILES["architecture"]).read_text(encoding="utf-8"))
            if Architecture.from_dict(told["architecture"]).arch_id != arch.arch_id or any(
                digest_of(folder / name) != each for name, each in told["files"].items()
            ):
                return None
            return cls(tuple(map(Check.from_dict, told["checks"])), told["int8"], told.get("int8_lost"))
        except (AttributeError, OSError, ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True)
class ArtifactMaker:
    """Writes the files of trained networks.

    Attributes:
        recipe: of their training.
        seed: of the split of the images.
    """

    data: ImageData
    recipe: TrainRecipe
    seed: int

    def write(
        self, folder: Path, network: Network, arch: Architecture, note: str, budget_s: float | None,
        on_progress: Callable[[TrainProgress], None], stop: Callable[[], bool],
    ) -> Artifacts:  # fmt: skip
        """Everything but card.md and card.json. Torch, ONNX Runtime and OpenVINO get the same test images.

        Args:
            network: in eval mode.
            note: how it was trained.
            budget_s: for training with rounding, should int8 lose too much.

        Raises:
            TargetError: a file cannot be made, or differs from torch; names it.
            StoppedError: `stop` said so.
        """
        data, blocks, threads = self.data, network.blocks, threads_each(1)
        deployed = Deployed(network, data.mean, data.std)
        reference = Reference.of(deployed, lambda: pixels_of(data.test))
        said = deployment_metadata(arch, data.classes, data.mean, data.std, data.size)
        paths = {kind: folder / name for kind, name in FILES.items()}
        files = (
            partial(export_onnx, deployed, blocks, paths["onnx_dynamic"], said),
            partial(fix_batch, paths["onnx_dynamic"], paths["onnx"]),
            partial(export_openvino, paths["onnx"], paths["openvino"]),
        )
        for file in files:
            unless_stopped(stop, file)
        tries = (
            partial(check_onnx, paths["onnx_dynamic"], reference, threads=threads),
            partial(check_onnx, paths["onnx"], reference.spread(SINGLES)),
            partial(check_openvino, paths["openvino"], reference),
        )
        checks = [unless_stopped(stop, each) for each in tries]
        lost, trained_s = None, 0.0
        try:
            made, found = self._int8(paths, network, said, reference, budget_s, on_progress, stop)
            checks += found
            int8, lost, trained_s = made.words, made.lost, made.trained_s
        except StoppedError:
            raise
        except NasError as exc:
            paths["onnx_int8"].unlink(missing_ok=True)
            int8 = f"left out: {exc}".replace(f"{folder}/", "")
        write_atomic(paths["labels"], "".join(f"{name}\n" for name in data.classes))
        state = {"schema": 1, "architecture": arch.to_dict(), "note": note}
        save_weights(paths["weights"], network.state_dict(), state)
        made_files = Artifacts(tuple(checks), int8, lost, trained_s)
        write_atomic(paths["architecture"], json.dumps(_described(folder, arch, blocks, said, made_files), indent=1) + "\n")
        return made_files

    def _int8(
        self, paths: Mapping[str, Path], network: Network, said: Mapping[str, str], reference: Reference, budget_s: float | None,
        on_progress: Callable[[TrainProgress], None], stop: Callable[[], bool],
    ) -> tuple[Int8, list[Check]]:  # fmt: skip
        """How the int8 file was made, and its checks."""
        threads, path = threads_each(1), paths["onnx_int8"]
        whole = path.with_name("int8.dynamic.onnx")
        maker = Int8Maker(self.data, self.recipe, self.seed, threads)
        make = partial(maker.make, network, paths["onnx_dynamic"], whole, said, budget_s, on_progress, stop)
        try:
            made = unless_stopped(stop, make)
            if made.lost > MOST_INT8_DROP:
                lost = f"{100 * made.lost:.1f} points on search-validation"
                raise TargetError(f"{path}: the int8 file loses {lost}, more than {100 * MOST_INT8_DROP:.0f}: use fp32")
            fix_batch(whole, path)
            tries = (
                partial(check_onnx, whole, reference, "int8", float("inf"), threads),
                partial(check_onnx, path, reference.spread(SINGLES), "int8", float("inf")),
                partial(check_openvino, path, reference, "int8", float("inf")),
            )
            every, *others = (unless_stopped(stop, each) for each in tries)
            return made, [_named(every, path), *others]
        finally:
            whole.unlink(missing_ok=True)


def unless_stopped(stop: Callable[[], bool], step: Callable[[], T]) -> T:
    """What one step on the way to the files gives.

    Raises:
        StoppedError: `stop` said so before it.
    """
    if stop():
        raise StoppedError("stopped before all files of the model were there: none of them is kept, what was trained is")
    return step()


def refuse_folders(home: Path) -> None:
    """Before a model's files are made, which takes long: none of them could take the place of a folder.

    Raises:
        InputError: a folder has the name of a file; names it.
    """
    for name in FILES.values():
        if (home / name).is_dir():
            raise InputError(f"{home / name} is a folder, where a file of a model goes: remove it")


def copy_artifacts(source: Path, folder: Path, arch: Architecture) -> Artifacts | None:
    """Files of a network that were written for another target, all but card.md and card.json; None where they are not whole."""
    known = Artifacts.read(source, arch)
    if known is not None:
        for path in sorted(source.iterdir()):
            if path.name in set(FILES.values()) - {FILES["card"], FILES["facts"]}:
                shutil.copy2(path, folder / path.name)
    return known


def _described(
    folder: Path, arch: Architecture, blocks: tuple[BlockSpec, ...], said: Mapping[str, str], made: Artifacts
) -> dict[str, object]:
    names = [name for name in FILES.values() if (folder / name).is_file()]
    return {
        "schema": 1,
        "architecture": arch.to_dict(),
        "blocks": [block.to_dict() for block in blocks],
        "classes": json.loads(said["classes"]),
        "preprocessing": json.loads(said["preprocessing"]),
        "int8": made.int8,
        "int8_lost": made.int8_lost,
        "tolerance": TOLERANCE,
        "checks": [check.to_dict() for check in made.checks],
        "files": {name: digest_of(folder / name) for name in names if name != FILES["architecture"]},
    }


def _named(check: Check, path: Path) -> Check:
    """The check of the same file with an open batch, under the name of the one that ships."""
    return replace(check, file=path.name)
