"""Quantities with units: what people type becomes SI, or is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.cli.quantities import UNITS, parse
from nas.errors import InputError

kinds = st.sampled_from(sorted(UNITS))


@given(st.data(), st.floats(1e-9, 1e9), st.sampled_from(["", " ", "\t"]))
def test_a_number_with_any_unit_of_its_kind_is_read(data: st.DataObject, number: float, blank: str) -> None:
    kind = data.draw(kinds)
    unit, factor = data.draw(st.sampled_from(sorted(UNITS[kind].items())))
    text = f"{number:.6g}{blank}{unit}"
    value = float(f"{number:.6g}") * factor
    if (kind == "share" and value > 1) or (kind == "part" and value >= 1):
        with pytest.raises(InputError, match=r"at most 1|less than 1"):
            parse(text, kind, "--x")
        return
    assert parse(text, kind, "--x") == pytest.approx(float(f"{number:.6g}") * factor)


@given(st.text(max_size=12) | st.from_regex(r"[-+0-9.eE]{1,8}[a-zA-Z%µ]{0,4}"), kinds)
def test_whatever_is_typed_is_a_positive_number_or_an_error_that_shows_it(text: str, kind: str) -> None:
    value, message = 1.0, f"--x {text!r}"
    try:
        value = parse(text, kind, "--x")
    except InputError as exc:
        message = str(exc)
    assert "--x" in message
    assert repr(text) in message
    assert math.isfinite(value)
    assert value > 0


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("25ms", "latency", 0.025),
        ("0.025 s", "latency", 0.025),
        ("2.5e1ms", "latency", 0.025),
        (".5ms", "latency", 0.0005),
        ("5.ms", "latency", 0.005),
        ("7µs", "latency", 7e-6),
        ("7μs", "latency", 7e-6),  # Greek mu
        ("40mJ", "energy", 0.04),
        ("3M", "count", 3e6),
        ("1200", "count", 1200),
        ("4MiB", "bytes", 4 * 2**20),
        ("4MB", "bytes", 4e6),
        ("1h", "duration", 3600),
        ("90%", "share", 0.9),
        ("0.9", "share", 0.9),
    ],
)
def test_examples(text: str, kind: str, value: float) -> None:
    assert parse(text, kind, "--x") == pytest.approx(value)


def test_per_cent_are_exact_and_a_forgotten_sign_is_named() -> None:
    assert [parse(f"{number}%", "part", "--prune") for number in (7, 29, 57, 70)] == [0.07, 0.29, 0.57, 0.7]
    for text in ("100%", "1"):
        with pytest.raises(InputError, match=r"--prune must be more than zero and less than 1 \(100 %\), got"):
            parse(text, "part", "--prune")
    with pytest.raises(InputError, match="did you mean 70%"):
        parse("70", "part", "--prune")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("25", "latency"),
        ("25 parsecs", "latency"),
        ("-3ms", "latency"),
        ("0ms", "latency"),
        ("1e400ms", "latency"),
        ("1e-400ms", "latency"),
        ("nan", "latency"),
        ("nanms", "latency"),
        ("infms", "latency"),
        ("", "latency"),
        ("ms", "latency"),
        ("２５ms", "latency"),
        ("1_000ms", "latency"),
        ("25MS", "latency"),
        ("25ms", "bytes"),
        ("20", "duration"),
        ("101%", "share"),
    ],
)
def test_what_is_refused(text: str, kind: str) -> None:
    with pytest.raises(InputError, match="--max-latency"):
        parse(text, kind, "--max-latency")
