"""The targets of a device that a search chooses among, by runtime, precision and threads. A candidate is an architecture on one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from nas.config import SearchConfig
from nas.errors import InputError
from nas.events import Event
from nas.hardware.predictor import LatencyPredictor
from nas.hardware.profile import DeviceProfile
from nas.search.scoring import Scorer
from nas.space import SearchSpace
from nas.target import Target

__all__ = ["Predictors", "alike_words", "fp32_targets", "scorer_of", "unmeasured_words", "with_faster_int8"]

Predictors = Mapping[Target, LatencyPredictor]
"""Of latency, by target."""
POOL = 2000
"""Random architectures that say whether a precision is faster."""


def fp32_targets(profile: DeviceProfile, config: SearchConfig) -> list[Target]:
    """Each runtime that is asked for with each number of threads, the one with most threads first: the sampler looks at the first.

    Raises:
        InputError: one that the profile cannot answer for.
    """
    found = [profile.target(runtime, "fp32", threads) for runtime in config.runtime or (None,) for threads in config.threads or (None,)]
    return sorted(found, key=lambda target: -target.threads)  # stable: then in the order of the runtimes


def with_faster_int8(
    space: SearchSpace, predictors: Predictors, known: Callable[[Target], LatencyPredictor], seed: int
) -> tuple[dict[Target, LatencyPredictor], tuple[Event, ...]]:
    """The targets, and after them in int8 those whose predictor for it, measured or published, says that it is faster; and a word on each.

    Args:
        predictors: of targets in fp32.
        known: the predictor of a target in int8; raises InputError where there is none.
        seed: of the architectures that say so.
    """
    rows, found, words = space.sample_rows(POOL, seed), dict(predictors), []
    for target, fp32 in predictors.items():
        small = replace(target, precision="int8")
        try:
            int8 = known(small)
        except InputError as exc:
            words.append(Event("warning", f"int8 is left out on {small.key}: {exc}"))
            continue
        one, other = (Scorer(space, on, of, None).values(rows)["latency_s"] for on, of in ((small, int8), (target, fp32)))
        ratio = float(np.exp(np.log(one / other).mean()))
        source = "measured" if int8.measurements else "published"
        text = f"int8 is {1 / ratio:.2g}x as fast on {small.key} ({source})"
        if ratio < 1:
            found[small] = int8
        else:
            text = f"int8 is left out on {small.key}: it takes {ratio:.2g}x the time of fp32 ({source})"
        words.append(Event("info" if ratio < 1 else "warning", text, fields={"int8_over_fp32": ratio}))
    return found, tuple(words)


def scorer_of(space: SearchSpace, profile: DeviceProfile, predictors: Predictors) -> Scorer:
    """Of all targets of a device, the first of which the sampler looks at. Their joules have one scope: they are compared."""
    made = [
        Scorer(space, target, predictor, profile.energy_model(target, [other for other in predictors if other != target]))
        for target, predictor in predictors.items()
    ]
    first = made[0]
    return Scorer(space, first.target, first.predictor, first.energy, made[1:])


def alike_words(profile: DeviceProfile, predictors: Predictors) -> tuple[Event, ...]:
    """Says where one predictor answers for several runtimes: their figures are the same then, and only the first comes to the front."""
    found: dict[tuple[str, int], list[Target]] = {}
    for target in predictors:
        found.setdefault((target.precision, target.threads), []).append(target)
    texts = []
    for first, *others in found.values():
        same = [each.runtime for each in others if predictors[each] == predictors[first]]
        if same:
            texts.append(f"{profile.name} has one predictor for {first.runtime} and {' and '.join(same)}: nothing tells them apart")
    return tuple(Event("warning", text) for text in dict.fromkeys(texts))


def unmeasured_words(profile: DeviceProfile, targets: Iterable[Target]) -> tuple[Event, ...]:
    """Says where a target was not measured and others of its device were: somebody may have meant those."""
    known = []
    for path in sorted(profile.folder.glob("predictor-*-fp32-*t.json")):
        runtime, _, threads = path.stem.removeprefix("predictor-").rsplit("-", 2)
        known.append(f"--runtime {runtime} --threads {threads.removesuffix('t')}")
    texts = [
        f"latency on {target.key} was not measured, with {' and '.join(known)} it was: ask for that, or "
        f"nas measure --device {profile.name} --runtime {target.runtime} --threads {target.threads}"
        for target in targets
        if known and not profile.predictor_path(target).is_file()
    ]
    return tuple(Event("warning", text) for text in texts)
