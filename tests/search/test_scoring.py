"""What is known before accuracy: many at once as one by one, and the ends of what a space can do against every architecture of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from nas.errors import InfeasibleError
from nas.hardware.energy import PowerTimesLatency
from nas.metrics import UNITS, Constraint
from nas.search.scoring import Rows, Scorer
from nas.space import SearchSpace, space_names
from tests.spaces import everything, make_space, rich_space, shipped

KNOWN = ("macs", "params", "size_bytes", "peak_memory_bytes", "latency_s", "energy_j")
LAYER = {"depth": 2, "kernel_size": [3, 5, 7], "expand_ratio": [1, 2, 4]}


def wide_space() -> SearchSpace:
    """118,098 architectures, six times what is drawn to learn about it; every gene always exists."""
    stages = [{**LAYER, "out_chs": [8, 16, 24], "stride": 2}, {**LAYER, "out_chs": [16, 24, 32], "se": True}]
    return make_space(resolution=[8, 12], stages=stages)


def torn_space() -> SearchSpace:
    """65,536 architectures: at each of 16 places an operator with fewer parameters or one that is faster."""
    ops = {"dense": {"expand_ratio": 2}, "grouped": {"expand_ratio": 2, "groups": 2}}
    return make_space(ops=ops, stages=[{"out_chs": chs, "depth": 4, "op": ["dense", "grouped"]} for chs in (8, 16, 24, 32)])


def all_rows(space: SearchSpace) -> Rows:
    return np.array(list(itertools.product(*(range(len(gene.choices)) for gene in space.genes))), dtype=np.int16)


@pytest.mark.parametrize("name", space_names())
@pytest.mark.parametrize(("device", "threads"), [("raspberrypi4", 1), ("raspberrypi4", 4), ("pixel3", 1)])
def test_values_are_those_of_metrics(scorer_of: Callable[..., Scorer], name: str, device: str, threads: int) -> None:
    space = shipped(name)
    scorer = scorer_of(space, device, threads)
    rows = np.concatenate([space.sample_rows(4, 0), space.encode([space.smallest, space.largest])])
    values = scorer.values(rows)
    assert set(values) == set(KNOWN)
    for number, arch in enumerate(space.decode_rows(rows)):
        metrics = scorer.metrics(arch)
        assert set(metrics) == set(KNOWN)
        for metric in KNOWN:
            assert values[metric][number] == pytest.approx(metrics[metric].value, rel=1e-9)
            assert metrics[metric].unit == UNITS[metric]
    assert {m.source for m in metrics.values()} == {"counted", "predicted", "modelled"}
    assert isinstance(scorer.energy, PowerTimesLatency)
    assert metrics["energy_j"].value == pytest.approx(scorer.energy.power.at(threads) * metrics["latency_s"].value)


def test_constraints_are_met_by_those_that_meet_them(scorer_of: Callable[..., Scorer]) -> None:
    space = rich_space()
    scorer = scorer_of(space)
    rows = space.sample_rows(200, 0)
    values = scorer.values(rows)
    bounds = [Constraint(metric, float(np.quantile(values[metric], 0.6))) for metric in KNOWN]
    floor = Constraint("params", float(np.quantile(values["params"], 0.2)), "min")
    ignored = Constraint("accuracy_search", 0.99, "min")
    expected = np.all([values[c.metric] <= c.bound for c in bounds] + [values["params"] >= floor.bound], axis=0)
    assert 0 < expected.sum() < len(rows)
    assert (scorer.meets(rows, [*bounds, floor, ignored]) == expected).all()
    assert scorer.meets(rows, []).all()


def test_a_small_space_is_explored_whole(scorer_of: Callable[..., Scorer]) -> None:
    space = make_space()
    scorer = scorer_of(space)
    rows = space.encode(everything(space))
    values = scorer.values(rows)
    bound = float(np.median(values["latency_s"]))
    found = scorer.explore([Constraint("latency_s", bound)], seed=0)
    assert found.scored == space.size
    assert len(found.rows) == (values["latency_s"] <= bound).sum()
    assert found.share == len(found.rows) / space.size
    assert found.ranges.keys() == values.keys()
    for metric, (low, high) in found.ranges.items():
        assert (low, high) == (values[metric].min(), values[metric].max())


def test_without_constraints_everything_is_feasible(scorer_of: Callable[..., Scorer]) -> None:
    space = wide_space()
    found = scorer_of(space).explore([], seed=0)
    assert found.share == 1.0
    assert found.scored >= 1_000_000
    assert 10_000 < len(found.rows) <= 20_000
    rows = {tuple(row) for row in found.rows.tolist()}
    assert {tuple(row) for row in space.encode([space.smallest, space.largest]).tolist()} <= rows


@pytest.mark.parametrize("metric", KNOWN)
def test_the_tightest_value_is_that_of_the_whole_space(scorer_of: Callable[..., Scorer], metric: str) -> None:
    space = wide_space()
    scorer = scorer_of(space)
    tightest = float(scorer.values(all_rows(space))[metric].min())
    found = scorer.explore([Constraint(metric, tightest * (1 + 1e-9))], seed=0)
    assert scorer.values(found.rows)[metric].max() == pytest.approx(tightest)
    assert found.ranges[metric][0] == pytest.approx(tightest)
    with pytest.raises(InfeasibleError) as refused:
        scorer.explore([Constraint(metric, tightest * 0.99)], seed=0)
    assert refused.value.tightest == {metric: pytest.approx(tightest)}
    assert refused.value.tried > 10_000


def test_infeasible_says_what_can_be_reached(scorer_of: Callable[..., Scorer]) -> None:
    space = make_space()
    scorer = scorer_of(space)
    fastest_ms = min(scorer.metrics(arch)["latency_s"].value for arch in everything(space)) * 1e3
    fewest = min(scorer.metrics(arch)["params"].value for arch in everything(space)) / 1e6
    with pytest.raises(InfeasibleError) as refused:
        scorer.explore([Constraint("latency_s", 1e-6)], seed=0)
    assert str(refused.value) == f"nothing meets latency <= 0.001 ms: the fastest of 20 scored is {fastest_ms:.4g} ms"
    assert (refused.value.tried, refused.value.exit_code) == (20, 3)
    with pytest.raises(InfeasibleError) as refused:
        scorer.explore([Constraint("latency_s", 1e-6), Constraint("params", 1e6)], seed=0)
    assert str(refused.value).startswith("nothing meets latency <= 0.001 ms and params <= 1 M: the fastest of ")
    assert f"is {fastest_ms:.4g} ms, the fewest of " in str(refused.value)
    assert f"is {fewest:.4g} M" in str(refused.value)
    assert "together" not in str(refused.value)


def test_bounds_that_can_be_met_alone_but_not_together_say_so(scorer_of: Callable[..., Scorer]) -> None:
    scorer = scorer_of(torn_space())
    values = scorer.values(all_rows(scorer.space))
    fastest, fewest = (float(values[metric].min()) for metric in ("latency_s", "params"))
    both = [Constraint("latency_s", fastest * 1.001), Constraint("params", fewest * 1.001)]
    assert not scorer.meets(all_rows(scorer.space), both).any()
    with pytest.raises(InfeasibleError, match=r"each bound can be met alone, not all together$") as refused:
        scorer.explore(both, seed=0)
    assert refused.value.tightest == {"latency_s": pytest.approx(fastest), "params": pytest.approx(fewest)}


@pytest.mark.parametrize("slack", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_what_can_be_met_together_is_found(scorer_of: Callable[..., Scorer], slack: float) -> None:
    """Bounds that only few of all mixtures meet: the best compromise at that latency, which nobody draws by chance."""
    scorer = scorer_of(torn_space())
    rows = all_rows(scorer.space)
    values = scorer.values(rows)
    latency = values["latency_s"]
    bound = latency.min() + slack * (latency.max() - latency.min())
    fewest = values["params"][latency <= bound].min()
    together = [Constraint("latency_s", float(bound)), Constraint("params", float(fewest) * 1.02)]
    assert 0 < scorer.meets(rows, together).mean() < 0.01
    found = scorer.explore(together, seed=0)
    assert scorer.meets(found.rows, together).all()
    assert len(found.rows) > 0
