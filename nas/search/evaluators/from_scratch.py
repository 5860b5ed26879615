"""Accuracy after a short training from scratch, with successive halving."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from nas.architecture import Architecture, BlockSpec
from nas.cost import count
from nas.errors import NasError
from nas.metrics import Metric
from nas.models.folding import fold_batch_norm
from nas.models.network import Network, recalibrate
from nas.search.evaluators.base import ACCURACY, Evaluation, EvaluatorContext
from nas.search.evaluators.halving import Ladder, Progress, Step, goes_on
from nas.training.batches import Batches, tensors
from nas.training.checkpoints import Checkpoints
from nas.training.data import ImageData
from nas.training.evaluate import accuracy, accuracy_metric, calibration_images, images_at_once
from nas.training.finetune import fit_average, plain_step
from nas.training.loop import train
from nas.training.reuse import FINETUNING, ONESHOT

__all__ = ["TrainingEvaluator", "fresh_network"]


def fresh_network(blocks: Sequence[BlockSpec], seed: int) -> Network:
    """A network with weights drawn by the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(blocks)


class TrainingEvaluator:
    """Trains each network by itself, from rung to rung of `HalvingRecipe.rungs`, for as long as it keeps up with the others.

    Each rung is a schedule of its own, with a warm restart between them (Loshchilov & Hutter 2017, arXiv:1608.03983), so that networks are
    compared when their learning rates are low. One that is halted has the accuracy of the rung where it was; `train_epochs` says which.
    Everything that is trained is kept in the cache: another search, another worker or a resume goes on from there.
    """

    gives = ACCURACY
    needs: frozenset[str] = frozenset()

    def __init__(self, context: EvaluatorContext) -> None:
        if context.threads is not None:
            torch.set_num_threads(context.threads)
        self._space, self._seed = context.space, context.data_seed
        self._recipe, self._halving = context.recipe, context.halving
        self._context = context
        self._data: dict[int, ImageData] = {}
        home = context.cache / "trained" / _key(context, self._images(context.space.resolutions[-1]))
        self._ladder = Ladder(home)

    def evaluate(self, archs: Sequence[Architecture]) -> list[Evaluation]:
        """See `Evaluator.evaluate`; source `trained`. The seconds are those of the training, whenever it was."""
        found = []
        for arch in archs:
            blocks = self._space.decode(arch)
            progress = self._ladder.read(arch.arch_id)
            if progress is None or not progress.done:
                progress = self._train(arch, blocks, progress or Progress(count(blocks).macs))
            last = progress.steps[-1]
            metrics = {
                ACCURACY: accuracy_metric(last.correct, last.images, "trained"),
                "train_epochs": Metric(float(last.epochs), "1", "counted"),
            }
            found.append(Evaluation(metrics, progress.seconds))
        return found

    def _train(self, arch: Architecture, blocks: Sequence[BlockSpec], progress: Progress) -> Progress:
        """Rung after rung. A rung that is done already is only read back from its checkpoint."""
        data, rungs = self._images(blocks[0].in_size), self._halving.rungs
        network = fresh_network(blocks, int(arch.arch_id[:8], 16) ^ self._seed)
        calibration = calibration_images(data)
        homes = [self._ladder.folder / f"{arch.arch_id}.rung{rung}" for rung in range(len(rungs))]
        try:
            for rung, home in enumerate(homes):
                seconds = self._climb(network, data, rung, home)
                recalibrate(network, calibration)
                if rung == len(progress.steps):
                    progress = replace(progress, steps=(*progress.steps, self._tested(network, data, rung, seconds)))
                    done = rung + 1 == len(rungs) or not goes_on(progress, self._ladder.others(arch.arch_id), self._halving.factor)
                    progress = replace(progress, done=done)
                    self._ladder.write(arch.arch_id, progress)
                if progress.done:
                    break
        except NasError:
            _clear(homes)
            raise
        _clear(homes)
        return progress

    def _climb(self, network: Network, data: ImageData, rung: int, home: Path) -> float:
        """Trains from the rung below to this one; returns the seconds."""
        rungs = (0, *self._halving.rungs)
        epochs, batches = rungs[rung + 1] - rungs[rung], Batches.of(data, self._recipe, self._seed + rung)
        recipe = fit_average(self._recipe, epochs * len(batches))
        return train(network, plain_step(recipe), batches, recipe, epochs=epochs, lr=recipe.lr, checkpoint=home).seconds

    def _tested(self, network: Network, data: ImageData, rung: int, seconds: float) -> Step:
        started = time.perf_counter()
        batches = tensors(data.search_validation, data.mean, data.std, images_at_once(network.blocks))
        correct, images = accuracy(fold_batch_norm(network), batches)
        return Step(self._halving.rungs[rung], correct, images, seconds + time.perf_counter() - started)

    def _images(self, size: int) -> ImageData:
        if size not in self._data:
            self._data[size] = self._context.images(size)
        return self._data[size]


def _key(context: EvaluatorContext, data: ImageData) -> str:
    """16 hex digits: two searches with one key train the same networks in the same way."""
    facts = {
        "space": [block.to_dict() for block in context.space.blocks],
        "data": data.fingerprint,
        "recipe": context.recipe.model_dump(exclude={*FINETUNING, *ONESHOT}),
        "halving": context.halving.model_dump(),
        "seed": context.data_seed,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _clear(homes: Sequence[Path]) -> None:
    for home in homes:
        Checkpoints(home).clear()
