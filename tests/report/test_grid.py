from __future__ import annotations

import pytest

from nas.errors import DataError, UnknownNameError
from nas.report.grid import Grid, load_grid


def test_a_country_has_two_codes_and_one_intensity() -> None:
    two, three = load_grid("fr"), load_grid("FRA")
    assert two == three
    assert two.name == "France"
    assert 0.01 < two.kg_per_kwh < 0.1
    assert 2020 <= two.year <= 2030
    assert two.source.startswith("CodeCarbon 3")
    assert load_grid("PL").kg_per_kwh > 5 * two.kg_per_kwh
    assert load_grid("WORLD").kg_per_kwh == pytest.approx(0.475)


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("FX", r"nearest: F\w \("),
        ("FRX", r"FRA \(France\)"),
        ("France", r"^unknown grid 'France' \(its code is FRA\)$"),
        ("Farnce", "did you mean france"),
    ],
)
def test_unknown_codes_list_the_nearest(code: str, word: str) -> None:
    with pytest.raises(UnknownNameError, match=word) as refused:
        load_grid(code)
    assert "there is no grid" not in str(refused.value)


def test_an_intensity_that_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match="cannot be -1"):
        Grid("FRA", "France", -1.0, 2023, "a test")
