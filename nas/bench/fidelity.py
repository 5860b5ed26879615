"""Does the supernet rank networks as their own trainings do? `nas bench fidelity`.

33 networks of `mobilenet_cifar`, the smallest, the largest and one at random from each of 31 equal shares of random networks ordered by
MACs, are trained alone with one recipe on 10,000 of CIFAR-10's training images. Their accuracy on the 10,000 test images is what they are
ranked by. Against it: their accuracy with the weights of a supernet that was trained on the same 10,000 images, as a search sees it (on
search-validation, batch norm recalibrated), parameters, MACs and NASWOT.

Why the test images: the supernet's accuracies are counted on search-validation, and the luck of those 5,000 images would be in both ranks.
Test images share none of it, are twice as many, and nothing is chosen by them here. What search-validation says of the same trained
networks is told beside: where two sets of images disagree on the very same weights, that is their noise and no fault of a measure.

Thirds: the networks with the fewest, the middle and the most MACs; correlations within them are means over the three. Intervals are 90 %,
networks drawn with replacement.

Each stand-alone training, the accuracies by a supernet and NASWOT are pieces that are kept (`nas.bench.pieces`), also in
docs/benchmarks/pieces/fidelity.json: what one machine has done another goes on from. The trainings alone do not depend on the supernet: one
that is trained otherwise is compared with the same networks. Its piece is named by its recipe and time: where the code of the training
changes and they do not, delete the piece, there and in runs/.cache, and the supernet in runs/.cache/supernets.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from nas.architecture import Architecture
from nas.bench.alone import train_alone
from nas.bench.fidelity_plot import picture
from nas.bench.outcome import Mark, Outcome
from nas.bench.pieces import Pieces, Row, committed, digest, runs_folder
from nas.bench.ranking import Array, Groups, Interval, bootstrap, kendall, spearman, thirds, within
from nas.bench.supernet import SPACE, ZIP, say
from nas.config import TrainRecipe, default_recipe
from nas.cost import count, count_rows
from nas.events import Event
from nas.models.lanes import use_threads
from nas.search.evaluators import EvaluatorContext, open_evaluator, threads_each
from nas.space import SearchSpace, load_space
from nas.training.data import ImageData, load_data
from nas.training.reuse import SupernetJob
from nas.training.split import subset

__all__ = ["SubsetContext", "run", "spread"]

ALONE, TWICE = "alone, test", "alone, search-validation"
SUPERNET, PARAMS, MACS, NASWOT = "supernet accuracy", "params", "MACs", "NASWOT"
SEED = 0
"""Of the images, the networks and the intervals."""
ALONE_RECIPE = TrainRecipe(
    batch_size=64, schedule="one-cycle", warmup=0.1, lr=0.1, momentum=0.9, weight_decay=1e-4, ema_decay=0.998, label_smoothing=0.05,
    grad_clip=5.0, augment=True, flip=True,
)  # fmt: skip
"""Of the stand-alone trainings, spelled out: with other defaults of the product, or more of them, they are the same. Batches of 64 at half
the default rate give so short a training twice the steps."""
DRAWS = 20_000
"""Random networks that the shares are made of."""
MOST_PROCESSES = 8
"""Each takes a GiB and a core: a network of this size does not keep two threads busy."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How large the benchmark is.

    Attributes:
        data: name or path of the images.
        images: of the training part.
        alone, epochs: how each network is trained by itself.
        supernet, supernet_s: how the supernet is trained, and for how long at most.
        resamples: of the intervals.
        processes: in which networks are trained alone, side by side.
    """

    space: str
    data: str
    images: int
    networks: int
    alone: TrainRecipe
    epochs: int
    supernet: TrainRecipe
    supernet_s: float
    resamples: int
    processes: int


def _plan(data: Path, smoke: bool) -> Plan:
    """Lengths by what was measured: 14 epochs of all 33 networks on 10,000 images are about 160 minutes of a core, 80 minutes of two. The
    supernet trains 240 images/s and more (`nas bench supernet`), 57 epochs in 40 minutes: the time ends it, not the epochs."""
    if smoke:
        recipe = default_recipe("digits").model_copy(update={"epochs": 1})
        return Plan("mobilenet_tiny", "digits", 300, 6, recipe, 1, recipe, 60.0, 20, 1)
    processes = min(MOST_PROCESSES, threads_each(1))
    return Plan(SPACE, str(data / ZIP), 10_000, 33, ALONE_RECIPE, 14, TrainRecipe(epochs=60), 2400.0, 1000, processes)


@dataclass(frozen=True)
class SubsetContext(EvaluatorContext):
    """What evaluators are given, with fewer training images: for batch norm's statistics and for NASWOT."""

    train_images: int = 0

    def images(self, size: int) -> ImageData:
        return subset(super().images(size), self.train_images, self.data_seed)


def run(data: Path, smoke: bool, new: int | None = None) -> Outcome:
    """Marks tau, tau-low, tau-margin and tau-margin-thirds.

    Args:
        data: folder of the CIFAR-10 zip.
        smoke: digits, six networks, an epoch: that it runs, not how good it is.
        new: pieces that may be made in this run; None for all that are missing.

    Raises:
        StoppedError: they were made, and there are more to make.
    """
    plan = _plan(data, smoke)
    with tempfile.TemporaryDirectory(prefix="nas-bench-") as folder:
        cache = (Path(folder) if smoke else runs_folder()) / ".cache"
        images, space = _prepared(plan, cache)
        archs = spread(space, plan.networks, SEED)
        inputs = {
            "space": digest([block.to_dict() for block in space.blocks]), "data": images.fingerprint,
            "recipe": plan.alone.model_dump(exclude_unset=True), "epochs": plan.epochs, "version": version("hwnas"),
        }  # fmt: skip
        pieces = Pieces.of(cache / "bench-fidelity", inputs, None if smoke else committed("fidelity"), new)
        train = partial(_alone, plan, cache, threads_each(plan.processes))
        trainings = {f"alone-{arch.arch_id}": partial(train, arch, f"{n} of {len(archs)}") for n, arch in enumerate(archs, 1)}
        alone = pieces.all_once(trainings, plan.processes)
        job = SupernetJob(space, images, plan.supernet, SEED, cache, plan.supernet_s)
        inherited = pieces.once(f"supernet-{job.home().name}", partial(_inherited, plan, job, archs))
        context = SubsetContext(space, plan.data, SEED, cache, None, train_images=plan.images)
        naswot = pieces.once("naswot", partial(_scores, context, "zero-cost", archs))
    return _outcome(plan, space, archs, alone, inherited, naswot)


def spread(space: SearchSpace, networks: int, seed: int) -> list[Architecture]:
    """The smallest network, one at random from each of `networks - 2` equal shares of random ones ordered by MACs, and the largest."""
    rng = np.random.default_rng(seed)
    ends = space.encode([space.smallest, space.largest])
    rows = np.unique(space.sample_rows(DRAWS, rng), axis=0)
    rows = rows[~(rows[:, None] == ends).all(axis=2).any(axis=1)]
    macs = count_rows(space.blocks, space.block_index(rows))["macs"]
    shares = np.array_split(np.argsort(macs, kind="stable"), networks - 2)
    return [space.smallest, *space.decode_rows(rows[[rng.choice(share) for share in shares]]), space.largest]


def _prepared(plan: Plan, cache: Path) -> tuple[ImageData, SearchSpace]:
    space = load_space(plan.space)
    images = subset(load_data(plan.data, space.resolutions[-1], SEED, cache), plan.images, SEED)
    return images, space.with_data(images.in_chs, images.num_classes)


def _alone(plan: Plan, cache: Path, threads: int, arch: Architecture, place: str) -> dict[str, Any]:
    """One training, in a process that may be one of several."""
    use_threads(threads)
    images, space = _prepared(plan, cache)
    made = train_alone(space.decode(arch), images, plan.alone, int(arch.arch_id[:8], 16), plan.epochs)
    say(Event("info", f"network {place}, {arch.arch_id}: {made.accuracy_test:.2%} of the test images, {made.training_s:.0f} s"))
    return {
        "architecture": arch.to_json(), "accuracy_test": made.accuracy_test, "accuracy_validation": made.accuracy_validation,
        "epochs": made.epochs, "seconds": made.training_s,
    }  # fmt: skip


def _inherited(plan: Plan, job: SupernetJob, archs: Sequence[Architecture]) -> dict[str, Any]:
    """Accuracies with the weights of the supernet, which is trained or found trained."""
    made = job.run(say, lambda: False)
    context = SubsetContext(job.space, plan.data, SEED, job.cache, made.path, train_images=plan.images)
    return {**_scores(context, "supernet", archs), "training_s": made.seconds, "epochs": made.epochs, "recipe": job.recipe.model_dump()}


def _scores(context: EvaluatorContext, evaluator: str, archs: Sequence[Architecture]) -> dict[str, Any]:
    """What an evaluator says of each network, by arch_id, and the seconds that it took."""
    opened, started = open_evaluator(evaluator, context), time.perf_counter()
    found = {arch.arch_id: opened.evaluate([arch])[0].metrics[opened.gives].value for arch in archs}
    return {"values": found, "seconds": time.perf_counter() - started}


def _outcome(
    plan: Plan, space: SearchSpace, archs: Sequence[Architecture], alone: Sequence[Mapping[str, Any]], inherited: Mapping[str, Any],
    naswot: Mapping[str, Any],
) -> Outcome:  # fmt: skip
    costs = [count(space.decode(arch)) for arch in archs]
    columns = {
        ALONE: [float(each["accuracy_test"]) for each in alone],
        SUPERNET: [float(inherited["values"][arch.arch_id]) for arch in archs],
        PARAMS: [float(cost.params) for cost in costs],
        MACS: [float(cost.macs) for cost in costs],
        NASWOT: [float(naswot["values"][arch.arch_id]) for arch in archs],
        TWICE: [float(each["accuracy_validation"]) for each in alone],
    }
    measures = {name: np.array(column) for name, column in columns.items()}
    everyone, split = [np.arange(len(archs))], thirds(measures[MACS])
    rows = [_correlations(plan, measures, name, everyone, split) for name in measures if name != ALONE]
    rows += [{"within a third": name, **_by_third(measures, name, split)} for name in measures if name != ALONE]
    rows += [
        {"network": arch.arch_id, **{name: float(measures[name][n]) for name in measures}, "seconds alone": float(alone[n]["seconds"])}
        for n, arch in enumerate(archs)
    ]
    rows.append({
        "training images": float(plan.images), "epochs alone": float(plan.epochs),
        "core-minutes alone": sum(row["seconds"] for row in alone) / 60,
        "supernet epochs": float(inherited["epochs"]), "supernet minutes": inherited["training_s"] / 60,
        "supernet s an evaluation": inherited["seconds"] / len(archs), "NASWOT s an evaluation": naswot["seconds"] / len(archs),
    })  # fmt: skip
    drawn = picture(measures[SUPERNET], measures[ALONE], measures[MACS], kendall(measures[SUPERNET], measures[ALONE]))
    return Outcome(rows, _marks(plan, measures, everyone, split), drawn)


def _correlations(plan: Plan, measures: Mapping[str, Array], name: str, everyone: Groups, split: Groups) -> Row:
    row: Row = {"ranked by": name}
    for label, statistic in (("tau", kendall), ("rho", spearman)):
        for where, groups in (("", everyone), (" within thirds", split)):
            found = bootstrap(partial(within, statistic, measures[name], measures[ALONE]), groups, SEED, plan.resamples)
            row |= {f"{label}{where}": found.value, f"{label}{where}, 90 %": f"{found.low:.2f} to {found.high:.2f}"}
    return row


def _by_third(measures: Mapping[str, Array], name: str, split: Groups) -> Row:
    macs = measures[MACS] / 1e6
    return {f"{macs[rows].min():.1f} to {macs[rows].max():.1f} M": kendall(measures[name][rows], measures[ALONE][rows]) for rows in split}


def _marks(plan: Plan, measures: Mapping[str, Array], everyone: Groups, split: Groups) -> list[Mark]:
    def tau(name: str, groups: Groups) -> float:
        return within(kendall, measures[name], measures[ALONE], groups)

    def margin(groups: Groups) -> float:
        return tau(SUPERNET, groups) - max(tau(PARAMS, groups), tau(MACS, groups))

    def interval(groups: Groups) -> Interval:
        return bootstrap(margin, groups, SEED, plan.resamples)

    found = bootstrap(partial(tau, SUPERNET), everyone, SEED, plan.resamples)
    overall, inside = interval(everyone), interval(split)
    networks = f"{len(measures[ALONE])} networks"
    agree = f"tau {tau(TWICE, everyone):.2f}, {tau(TWICE, split):.2f} in thirds"
    noise = f"what it is held against has noise: search-validation and test rank the same trained weights with {agree}"
    return [
        Mark("tau", f"Kendall's tau-b of supernet against stand-alone accuracy, {networks}", found.value, 0.65, "higher", noise),
        Mark("tau-low", "lower end of its 90 % interval", found.low, 0.5, "higher", noise),
        Mark(
            "tau-margin", f"tau above that of the better of parameters and MACs, 90 % {overall.low:.2f} to {overall.high:.2f}",
            overall.value, 0.05, "higher", f"parameters have {tau(PARAMS, everyone):.2f}, MACs {tau(MACS, everyone):.2f}; {noise}",
        ),
        Mark(
            "tau-margin-thirds", f"the same within thirds of the MAC range, their mean, 90 % {inside.low:.2f} to {inside.high:.2f}",
            inside.value, 0.15, "higher", f"parameters have {tau(PARAMS, split):.2f}, MACs {tau(MACS, split):.2f}; {noise}",
        ),
    ]  # fmt: skip
