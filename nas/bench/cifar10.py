"""Is the whole path better than the obvious one? `nas bench cifar10`.

Ours: `nas search` with its defaults and a time budget of 60 minutes on the CIFAR-10 zip, in an empty folder, so that the training of the
supernet, the search and the fine-tuning of the finalists are all inside. The obvious one: Optuna's NSGA-II, every trial trained from
scratch, for 60 minutes (`nas.bench.from_scratch` says what is done in its favour). Both have the same space (`mobilenet_cifar`),
images, split, recipe, augmentation and cores; objectives are accuracy and predicted latency on a Raspberry Pi 4. Two seeds each.

Trials from scratch are of 3 or of 10 epochs, the better of both. The rule, fixed before anything was run: both lengths run for the whole
time with the first seed; the one whose front has more hypervolume on search-validation is the baseline, with that run and, for the other
seeds, runs of its own. So nothing is chosen on test images, and the baseline has had twice our time for that choice. The other length is
told of beside it, with the first seed.

Front members are chosen by search-validation and judged by test, on both sides. Each run of an hour is a piece that is kept
(`nas.bench.pieces`), also in docs/benchmarks/pieces/cifar10.json. One that is cut off begins anew: its time is what is compared.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import fmean

from nas.bench.cifar10_plot import picture
from nas.bench.contest import Contest, Run, whole_path
from nas.bench.contest_fronts import Point, dominated, front, gain
from nas.bench.from_scratch import from_scratch
from nas.bench.outcome import Mark, Outcome
from nas.bench.pieces import Pieces, Row, committed, digest, runs_folder
from nas.bench.supernet import SPACE, ZIP
from nas.config import SearchConfig, default_recipe
from nas.hardware.profile import load_profile
from nas.search.evaluators import threads_each
from nas.space import load_space
from nas.training.data import load_data
from nas.training.reuse import FINETUNING, ONESHOT

__all__ = ["Found", "contest_of", "contested", "run"]

DEVICE = "raspberrypi4"
BUDGET_S = 3600.0
SEEDS = (0, 1)
LENGTHS = (3, 10)
"""Epochs of a trial from scratch."""
MOMENTS = 12
"""At which hypervolume is told, evenly over the time."""


@dataclass(frozen=True)
class Found:
    """All runs, by seed.

    Attributes:
        lengths: runs from scratch with the first seed, by epochs a trial.
        length: the better one.
        theirs: from scratch, trials of that length.
    """

    ours: Mapping[int, Run]
    lengths: Mapping[int, Run]
    length: int
    theirs: Mapping[int, Run]

    @property
    def named(self) -> list[tuple[str, int, Run]]:
        """Method, seed and run."""
        methods = (("nas search", self.ours), (f"NSGA-II, {self.length} epochs from scratch", self.theirs))
        return [(name, seed, found) for name, runs in methods for seed, found in runs.items()]


def run(data: Path, smoke: bool, new: int | None = None) -> Outcome:
    """Marks front and dominate.

    Args:
        data: folder of the CIFAR-10 zip.
        smoke: digits, seconds and one seed: that it runs, not how good it is.
        new: runs of an hour that may be made; None for all that are missing.

    Raises:
        StoppedError: they were made, and there are more to make.
    """
    with tempfile.TemporaryDirectory(prefix="nas-bench-") as folder:
        cache = (Path(folder) if smoke else runs_folder()) / ".cache"
        contest, fingerprint = contest_of(data, cache, smoke)
        inputs = {
            "space": digest([block.to_dict() for block in contest.space.blocks]), "data": fingerprint,
            "recipe": contest.recipe.model_dump(exclude={*FINETUNING, *ONESHOT}), "budget_s": contest.budget_s, "device": contest.device,
            "version": version("hwnas"),
        }  # fmt: skip
        pieces = Pieces.of(cache / "bench-cifar10", inputs, None if smoke else committed("cifar10"), new)
        found = contested(contest, pieces, cache, (1, 2) if smoke else LENGTHS, SEEDS[:1] if smoke else SEEDS)
    rows: list[Row] = [_length_row(contest, epochs, each, found) for epochs, each in found.lengths.items()]
    rows += [_run_row(contest, name, seed, each) for name, seed, each in found.named]
    rows += [_volume_row(contest, name, seed, each) for name, seed, each in found.named]
    rows += [_point_row(name, seed, point) for name, seed, each in found.named for point in front(each.points)]
    points = [{seed: each.points for seed, each in runs.items()} for runs in (found.ours, found.theirs)]
    beside = {f"the same, {epochs} epochs a trial": each.points for epochs, each in found.lengths.items() if epochs != found.length}
    drawn = picture(points[0], points[1], beside, contest.device, contest.budget_s / 60)
    return Outcome(rows, _marks(found.ours, found.theirs), drawn)


def contested(contest: Contest, pieces: Pieces, cache: Path, lengths: Sequence[int], seeds: Sequence[int]) -> Found:
    """Makes the runs that are missing, and chooses the length of trials from scratch by the rule above.

    Seed by seed, so that both methods have the first one before either has the second. A run of ours is named by what is ours alone: a
    change of the supernet's training or of fine-tuning leaves hours of trials from scratch as they are.
    """
    settings = digest({"recipe": contest.recipe.model_dump(), "trials": contest.trials, "finalists": contest.finalists})

    def once(name: str, make: Callable[[], Run]) -> Run:
        return Run.from_dict(pieces.once(name, lambda: make().to_dict()))

    def alone(epochs: int, seed: int) -> Run:
        return once(f"from-scratch-{epochs}-{seed}", partial(from_scratch, contest, epochs, seed, cache))

    def whole(seed: int) -> Run:
        return once(f"whole-path-{seed}-{settings}", partial(whole_path, contest, seed, pieces.folder / f"runs-{seed}"))

    tried = {epochs: alone(epochs, seeds[0]) for epochs in lengths}
    better = max(lengths, key=lambda epochs: contest.hypervolume(tried[epochs], judge="validation"))
    both = {seed: (alone(better, seed), whole(seed)) for seed in seeds}
    return Found({seed: ours for seed, (_, ours) in both.items()}, tried, better, {seed: theirs for seed, (theirs, _) in both.items()})


def contest_of(data: Path, cache: Path, smoke: bool) -> tuple[Contest, str]:
    """What is contested, and the fingerprint of the images as the first seed splits them."""
    space, name = (load_space("mobilenet_tiny"), "digits") if smoke else (load_space(SPACE), str(data / ZIP))
    recipe = default_recipe(name)
    if smoke:
        recipe = recipe.model_copy(update={"epochs": 1, "finetune_epochs": 1})
    images = load_data(name, space.resolutions[-1], SEEDS[0], cache)
    profile = load_profile(DEVICE)
    target = profile.target()
    defaults = SearchConfig.model_fields["trials"].default, SearchConfig.model_fields["finalists"].default
    budget_s, (trials, finalists) = (3.0, (3, 1)) if smoke else (BUDGET_S, defaults)
    contest = Contest(
        space.with_data(images.in_chs, images.num_classes), name, DEVICE, profile.predictor(target), target.threads, recipe, budget_s,
        trials, finalists, 1 if smoke else threads_each(1),
    )  # fmt: skip
    return contest, images.fingerprint


def _length_row(contest: Contest, epochs: int, theirs: Run, found: Found) -> Row:
    """What the length of trials was chosen by; and, which chose nothing, what our run of the same seed has above it."""
    ours = next(iter(found.ours.values()))
    more, (few, many) = gain(ours.points, theirs.points), dominated(theirs.points, ours.points)
    return {
        "epochs a trial from scratch": float(epochs), "networks": float(theirs.networks),
        "hypervolume, search-validation": contest.hypervolume(theirs, judge="validation"), "is the baseline": epochs == found.length,
        "our points of test accuracy above it": 100 * more.value, "at latency_ms": 1e3 * more.latency_s,
        "of its front, dominated by ours": f"{few} of {many}",
    }  # fmt: skip


def _run_row(contest: Contest, name: str, seed: int, found: Run) -> Row:
    members = front(found.points)
    return {
        "method": name, "seed": float(seed), "minutes": found.seconds / 60,
        "minutes of which": ", ".join(f"{part} {seconds / 60:.1f}" for part, seconds in found.spent_s.items()),
        "networks tried": float(found.networks), "trained": float(len(found.points)), "on the front": float(len(members)),
        "hypervolume, test": contest.hypervolume(found), "s of wall-clock a front member": found.seconds / len(members),
    }  # fmt: skip


def _volume_row(contest: Contest, name: str, seed: int, found: Run) -> Row:
    """Of the test accuracies of the front by search-validation, as it was at each moment; the last one is that of all that was found."""
    moments = [contest.budget_s * n / MOMENTS for n in range(1, MOMENTS)]
    values = {f"{moment / 60:.3g} min": contest.hypervolume(found, until_s=moment) for moment in moments}
    return {"hypervolume on test of": name, "seed": float(seed), **values, "end": contest.hypervolume(found)}


def _point_row(name: str, seed: int, point: Point) -> Row:
    return {
        "front member of": name, "seed": float(seed), "id": point.id, "latency_ms": 1e3 * point.latency_s, "accuracy_test": point.test,
        "accuracy_validation": point.validation, "s for it alone": point.own_s, "ready, minutes": point.at_s / 60,
    }  # fmt: skip


def _marks(ours: Mapping[int, Run], theirs: Mapping[int, Run]) -> list[Mark]:
    gains = {seed: gain(ours[seed].points, theirs[seed].points) for seed in ours}
    beaten = [dominated(theirs[seed].points, ours[seed].points) for seed in ours]
    told = ", ".join(f"seed {seed} {100 * each.value:+.1f} at {1e3 * each.latency_s:.2g} ms" for seed, each in gains.items())
    counts = ", ".join(f"seed {seed} {few} of {many}" for seed, (few, many) in zip(ours, beaten, strict=True))
    share = sum(few for few, _ in beaten) / sum(many for _, many in beaten)
    tuned = fmean(point.own_s for run in ours.values() for point in run.points)
    supernet = fmean(run.spent_s.get("supernet", 0.0) for run in ours.values()) / 60
    reason = f"of its time ours had {supernet:.0f} min for the supernet and {tuned:.0f} s for a finalist"
    seeds = f"{len(gains)} seed{'s' if len(gains) > 1 else ''}"
    what = f"points of test accuracy above the baseline's at the median latency that both cover, mean of {seeds}"
    share_of = f"share of the baseline's front members that a member of ours dominates on test, {seeds}"
    return [
        Mark("front", what, 100 * fmean(each.value for each in gains.values()), 3.0, "higher", f"{told}; {reason}"),
        Mark("dominate", share_of, share, 0.8, "higher", f"{counts}; {reason}"),
    ]
