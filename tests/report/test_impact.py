from __future__ import annotations

import pytest

from nas.errors import InputError
from nas.hardware.facts import Power
from nas.hardware.meters.csv_log import CsvLog
from nas.hardware.meters.pmic import Pmic
from nas.metrics import Metric
from nas.report.grid import Grid
from nas.report.impact import DAYS, Use, battery_notes, impact_notes, impact_of

GRID = Grid("FRA", "France", 0.05, 2023, "a test")
ENERGY = Metric(0.036, "J", "modelled", low=0.018, high=0.072, scope="board")
LATENCY = Metric(0.01, "s", "predicted")


def test_a_year_is_joules_times_inferences() -> None:
    found = impact_of("one", ENERGY, LATENCY, Use(1e6, GRID), None)
    assert found.kwh_year.value == pytest.approx(0.01 * DAYS)  # 36 kJ a day
    assert (found.kwh_year.low, found.kwh_year.high) == pytest.approx((0.005 * DAYS, 0.02 * DAYS))
    assert found.co2e_kg_year.value == pytest.approx(0.0005 * DAYS)
    assert found.busy_share == pytest.approx(1e4 / 86_400)
    assert found.battery_days is None


def test_a_battery_lasts_less_where_the_board_idles_in_between() -> None:
    board = Power(watts={0: 2.0, 1: 3.6}, spread=1.5, source="a test")
    found = impact_of("one", ENERGY, LATENCY, Use(1e5, GRID, 10.0), board)
    assert found.battery_days is not None
    assert found.battery_always_on_days is not None
    assert found.battery_days.value == pytest.approx(10.0)  # 36 kJ a charge, 3.6 kJ a day
    assert (found.battery_days.low, found.battery_days.high) == pytest.approx((5.0, 20.0))
    idle_j = 2.0 * (86_400 - 1_000)
    assert found.battery_always_on_days.value == pytest.approx(36_000 / (3_600 + idle_j))
    assert found.battery_always_on_days.low == pytest.approx(36_000 / (7_200 + 1.5 * idle_j))


def test_joules_net_of_idle_have_idle_beneath_them() -> None:
    net = Metric(0.036, "J", "modelled", scope="core rail, net of idle")
    found = impact_of("one", net, LATENCY, Use(1e5, GRID, 10.0), Power(watts={0: 2.0, 1: 3.6}, source="a test"))
    assert found.battery_always_on_days is not None
    assert found.battery_always_on_days.value == pytest.approx(36_000 / (3_600 + 2.0 * 86_400))


@pytest.mark.parametrize("scope", ["package", "package and memory", "rail VDD_CORE", "what the ina219 sees", Pmic.scope, "GPU"])
def test_joules_of_a_part_do_not_tell_how_long_an_idling_board_lasts(scope: str) -> None:
    use, board = Use(7.776e6, GRID, 10.0), Power(watts={0: 10.0, 1: 18.0}, source="t")
    found = impact_of("a", Metric(0.05, "J", "predicted", scope=scope), Metric(0.01, "s", "predicted"), use, board)
    assert found.battery_days is not None
    assert found.battery_always_on_days is None
    assert list(battery_notes([found])) == [f"always on is not known: the joules are of {scope}, idle watts of the whole board"]
    assert "what the rest of the board draws is in none of the kWh" in list(impact_notes([found], use))


@pytest.mark.parametrize("scope", ["board", CsvLog.scope, "the whole phone"])
def test_joules_of_all_that_the_device_draws_hold_its_idle_watts_while_it_is_busy(scope: str) -> None:
    use, board = Use(1e5, GRID, 10.0), Power(scope="the whole phone", watts={0: 2.0, 1: 3.6}, source="t")
    found = impact_of("a", Metric(0.036, "J", "predicted", scope=scope), LATENCY, use, board)
    assert found.battery_always_on_days is not None
    assert found.battery_always_on_days.value == pytest.approx(36_000 / (3_600 + 2.0 * (86_400 - 1_000)))
    assert "what the rest of the board draws is in none of the kWh" not in list(impact_notes([found], use))


def test_one_device_that_cannot_do_so_many_never_idles() -> None:
    found = impact_of("one", ENERGY, LATENCY, Use(1e8, GRID, 10.0), Power(watts={0: 2.0, 1: 3.6}, source="a test"))
    assert found.busy_share > 1
    assert found.battery_always_on_days is None
    assert list(battery_notes([found])) == ["always on of one is not known: so many inferences leave one device no time to idle"]


def test_a_baseline_that_one_device_cannot_do_is_told_too() -> None:
    use = Use(1e6, GRID)
    quick, slow = (
        impact_of("one", ENERGY, LATENCY, use, None),
        impact_of("mobilenet_v2", ENERGY, Metric(0.106, "s", "predicted"), use, None),
    )
    assert "one device cannot do so many of mobilenet_v2: at least 2 are needed" in list(impact_notes([quick], use, [slow]))
    assert not [note for note in impact_notes([quick], use) if "one device" in note]


def test_why_nothing_is_always_on() -> None:
    use, board = Use(1e5, GRID, 10.0), Power(watts={0: 2.0, 1: 3.6}, source="a test")
    alone, idling = impact_of("a", ENERGY, LATENCY, use, None), impact_of("b", ENERGY, LATENCY, use, board)
    assert list(battery_notes([alone])) == ["always on is not known: the profile does not say what the board draws at rest"]
    assert list(battery_notes([idling])) == ["always on: with the board idling between inferences, by its idle watts"]
    assert list(battery_notes([impact_of("c", ENERGY, LATENCY, Use(1e5, GRID), board)])) == []


def test_every_joule_of_the_record_says_its_scope_and_source() -> None:
    data = impact_of("one", ENERGY, LATENCY, Use(1e5, GRID, 10.0), None).to_dict()
    for name, value in data.items():
        if name not in ("name", "busy_share"):
            assert isinstance(value, dict)
            assert value["scope"] == "board", name
            assert value["source"] == "modelled", name


@pytest.mark.parametrize("inferences", [0.0, -1.0, float("inf"), float("nan")])
def test_uses_check_themselves(inferences: float) -> None:
    with pytest.raises(InputError, match="more than zero and finite"):
        Use(inferences, GRID)
    with pytest.raises(InputError, match="capacity"):
        Use(1.0, GRID, inferences)


def test_what_is_no_energy_is_refused() -> None:
    with pytest.raises(InputError, match="what they cover"):
        impact_of("one", LATENCY, LATENCY, Use(1e6, GRID), None)
