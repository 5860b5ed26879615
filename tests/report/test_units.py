"""The edge: units, words, MLflow's keys, and the pure values that are logged."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.metrics import UNITS, Metric
from nas.report.impact import Band
from nas.report.runs import config_params, members, param_name, run_metrics
from nas.report.units import SHOWN, describe, digits, origin, short, span
from nas.report.view import view_path, view_state

from .strategies import example_front


def test_every_metric_is_shown() -> None:
    assert set(SHOWN) == set(UNITS)
    keys = {shown.key for shown in SHOWN.values()}
    assert {"accuracy_search", "accuracy_test", "latency_ms", "energy_mj", "params", "macs", "size_mib"} <= keys


@pytest.mark.parametrize(
    ("name", "metric", "text"),
    [
        ("latency_s", Metric(0.0123, "s", "predicted", low=0.00984, high=0.0154), "12.3 ms (9.84 to 15.4), predicted"),
        ("accuracy_search", Metric(0.975, "1", "supernet", std=0.008), "97.50 ± 0.8 %, supernet"),
        ("energy_j", Metric(0.05, "J", "modelled", scope="board"), "50 mJ, modelled (board)"),
        ("params", Metric(3_504_872, "1", "counted"), "3.5 M, counted"),
        ("size_bytes", Metric(2**21, "B", "counted"), "2 MiB, counted"),
        ("latency_s", Metric(5.4, "s", "predicted", low=0.9997, high=12.34), "5400 ms (1000 to 12300), predicted"),
        ("params", Metric(999_700, "1", "counted"), "1 M, counted"),
    ],
)
def test_describe(name: str, metric: Metric, text: str) -> None:
    assert describe(name, metric) == text


def test_an_origin_has_the_scope_that_there_is() -> None:
    assert origin(Metric(0.9, "1", "supernet")) == "supernet"
    assert origin(Metric(0.9, "1", "supernet", scope="int8, really quantised")) == "supernet, int8, really quantised"
    assert origin(Metric(0.05, "J", "modelled", scope="board")) == "modelled, board"


def test_run_metrics_are_in_the_units_of_the_edge() -> None:
    first = example_front().front[0]
    found = run_metrics(first)
    assert found["latency_ms"] == pytest.approx(2.1)
    assert found["latency_ms_high"] == pytest.approx(2.1 * 1.25)
    assert found["accuracy_search_std"] == 0.008
    assert set(found) >= {"energy_mj", "macs", "params", "size_mib", "accuracy_test"}


@given(st.integers(1, 40), st.integers(1, 30))
def test_members_keep_finalists_and_the_ends(count: int, limit: int) -> None:
    front = example_front(count, 3)
    chosen = members(front, limit)
    assert len(chosen) == min(limit, count)
    assert len({each.id for each in chosen}) == len(chosen)
    assert {each.id for each in front.finalists[:limit]} <= {each.id for each in chosen}


def test_spans_read_in_one_unit() -> None:
    assert span(6.6e8, 8.2e8, "B/s") == "660 to 820 MB/s"
    assert span(9e8, 2.04e9, "MAC/s") == "0.9 to 2 GMAC/s"
    assert span(25.0, 25.2, "%") == "25 %"
    assert short(4.6e9) == "4.6 G"


def test_three_digits_have_no_exponent_below_a_million() -> None:
    texts = {5400: "5400", 999_499: "999000", 12.345: "12.3", 0.009844: "0.00984", 0: "0", -1234: "-1230"}
    assert {value: digits(value) for value in texts} == texts
    assert digits(15_467.2, 4) == "15470"
    assert [short(value) for value in (999.4, 999.7, 999_700, 5e12)] == ["999", "1 k", "1 M", "5000 G"]
    assert span(2.1e8, 9.96e8, "B/s") == "0.21 to 1 GB/s"
    assert Band(5400.0, 0.5, 99_960.0).text() == "5400 (0.5 to 100000)"


def test_names_and_nested_params() -> None:
    assert param_name("s1(a)=b.c") == "s1_a__b.c"
    assert config_params({"a": {"b": [1, 2]}, "c": None, "d": True}) == {"a.b": "1, 2", "d": "True"}


def test_the_view_shows_only_what_is_known() -> None:
    state = json.loads(view_state("s", [], ["accuracy_search", "energy_j"]))
    assert [chart["xaxis"]["key"] for chart in state["compareRunCharts"]] == ["energy_mj"]
    assert state["orderByKey"] == "metrics.`accuracy_search`"
    axes = ["accuracy_search", "latency_s", "energy_j"]
    flat, space = (json.loads(view_state("s", [], axes, three_axes=third))["compareRunCharts"] for third in (False, True))
    assert [chart["type"] for chart in flat] == ["SCATTER", "SCATTER"]
    assert [space[2][axis]["key"] for axis in ("xaxis", "yaxis", "zaxis")] == ["latency_ms", "energy_mj", "accuracy_search"]
    genes = [f"stage{index}.block{block}.kernel" for index in range(10) for block in range(10)]
    assert len(view_state("s" * 100, genes, list(SHOWN))) < 20_000
    assert view_path("7", "my-study").startswith("/#/experiments/7/runs?viewStateShareKey=my-study&compareRunsMode=CHART")
