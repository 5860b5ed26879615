"""The fidelity benchmark: which networks it takes, and that it runs."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from nas.bench.fidelity import SubsetContext, run, spread
from nas.cost import count
from nas.space import load_space
from nas.training.data import load_data
from nas.training.split import subset


def test_networks_are_spread_over_the_macs_with_both_ends() -> None:
    space = load_space("mobilenet_cifar")
    archs = spread(space, 33, 0)
    macs = [count(space.decode(arch)).macs for arch in archs]
    assert (archs[0], archs[-1]) == (space.smallest, space.largest)
    assert len(set(archs)) == 33
    assert macs == sorted(macs)
    drawn = [count(space.decode(space.sample(seed))).macs for seed in range(300)]
    assert max(np.searchsorted(sorted(drawn), macs[n]) - 300 * (n - 0.5) / 31 for n in range(1, 32)) < 30  # by quantiles
    assert spread(space, 33, 0) == archs != spread(space, 33, 1)


def test_evaluators_see_the_smaller_training_set() -> None:
    context = SubsetContext(load_space("mobilenet_tiny"), "digits", 0, Path(), None, train_images=100)
    seen, own = context.images(8), subset(load_data("digits", 8, 0), 100, 0)
    assert seen.fingerprint == own.fingerprint
    assert np.array_equal(seen.train.images, own.train.images)
    assert len(seen.search_validation) == 360


def test_it_runs_and_gives_every_mark() -> None:
    outcome = run(Path(), smoke=True)
    assert [mark.id for mark in outcome.marks] == ["tau", "tau-low", "tau-margin", "tau-margin-thirds"]
    assert all("90 %" in mark.what or mark.id == "tau" for mark in outcome.marks)
    assert all("rank the same trained weights with tau" in mark.why for mark in outcome.marks)
    ranked = {row["ranked by"]: row for row in outcome.rows if "ranked by" in row}
    assert list(ranked) == ["supernet accuracy", "params", "MACs", "NASWOT", "alone, search-validation"]
    assert ranked["supernet accuracy"]["tau"] == outcome.marks[0].value
    networks = [row for row in outcome.rows if "network" in row]
    assert len(networks) == 6
    assert all(0 < float(row["alone, test"]) < 1 and float(row["seconds alone"]) > 0 for row in networks)
    assert all(float(a["MACs"]) < float(b["MACs"]) for a, b in itertools.pairwise(networks))
    assert outcome.picture is not None
    assert outcome.picture.startswith(b"\x89PNG")
