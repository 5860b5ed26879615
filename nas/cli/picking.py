"""Which candidate of a study the options of nas pick and nas export mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from nas.cli.quantities import parse
from nas.errors import InfeasibleError, InputError, UnknownNameError
from nas.report.front import CandidateRecord, FrontRecord
from nas.target import Target

__all__ = ["Role", "choose", "contradicted", "find_candidate", "judged_otherwise", "role_of"]

Role = Literal["fastest", "knee", "most accurate"]
LATENCY, MEASURED, INT8_LATENCY = "latency_s", "latency_measured_s", "latency_int8_s"


def find_candidate(record: FrontRecord, name: str) -> CandidateRecord:
    """A candidate by id or by an unambiguous beginning of it.

    Raises:
        InputError: the beginning of several.
        UnknownNameError: of none.
    """
    found = [each for each in record.candidates if each.id.startswith(name)]
    exact = [each for each in found if each.id == name]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        raise InputError(f"{name!r} begins {len(found)} candidates: {', '.join(each.id for each in found[:5])}")
    hint = f"(nas front --csv lists the {len(record.candidates)} there are)"
    if record.held:
        hint = f"(nas front --csv lists {record.held}; the others are in candidates.parquet alone, and cannot be picked)"
    raise UnknownNameError("candidate", name, (), hint, aliases=[each.id for each in record.candidates])


def role_of(candidate: str | None, *, knee: bool, fastest: bool, most_accurate: bool) -> Role:
    """The role that the flags ask for; the most accurate where none does.

    Raises:
        InputError: they ask for several, or beside an id.
    """
    if sum([candidate is not None, knee, fastest, most_accurate]) > 1:
        raise InputError("choose one of --pick, --knee, --fastest and --most-accurate")
    return "knee" if knee else "fastest" if fastest else "most accurate"


def choose(
    record: FrontRecord, candidate: str | None, bounds: Mapping[str, str | None], role: Role, precision: str | None = None
) -> tuple[CandidateRecord, str]:
    """The candidate that the options mean, and how it was chosen where that needs a word: an id, or the role's of all that can be chosen
    (`nas.report.highlights.choice`) within the bounds.

    Args:
        bounds: what was given to each option, by its name.
        precision: of the files that go out; None for each candidate's own.

    Raises:
        InputError: bounds beside an id, or no quantity.
        InfeasibleError: nothing is within the bounds.
    """
    from nas.report.highlights import choice

    given = {option: text for option, text in bounds.items() if text is not None}
    if candidate is not None:
        if given:
            raise InputError(f"--pick names one candidate: leave out {', '.join(given)}")
        return find_candidate(record, candidate), ""
    able = choice(record).able
    # The accuracy that is bounded is the one that compares: it is known when costs have been bounded.
    kept: list[str] = []
    for option in sorted(given, key=lambda each: each == "--min-accuracy"):
        able = _within(record, able, option, given[option], kept, precision)
        kept.append(f"{option} {given[option]}")
    found = choice(record, able)
    if not able:
        raise InfeasibleError(f"no candidate is on the front of {record.study}", len(record.candidates), {})
    return found.of(role), "" if role == "fastest" else found.words


def _within(
    record: FrontRecord, able: Sequence[CandidateRecord], option: str, text: str, kept: Sequence[str], precision: str | None
) -> tuple[CandidateRecord, ...]:
    """Those that keep a bound.

    Args:
        kept: bounds that all of `able` keep.
        precision: of the files that go out; None for each candidate's own.

    Raises:
        InfeasibleError: none does; it names the nearest.
    """
    from nas.cli.search import BOUNDS
    from nas.report.highlights import ACCURACY, choice
    from nas.report.units import describe

    metric, kind, side = BOUNDS[option]
    if metric == ACCURACY:
        metric = choice(record, able).accuracy
    bound = parse(text, kind, option)
    names = {each.id: _bounded(each, precision) if metric == LATENCY else metric for each in able}
    known = {each.id: value for each in able if (value := each.value(names[each.id])) is not None}
    found = tuple(each for each in able if each.id in known and (known[each.id] <= bound if side == "max" else known[each.id] >= bound))
    if found or not able:
        return found
    if not known:
        raise InputError(f"{option} bounds a figure that study {record.study} does not have for {record.device}: leave it out")
    best = (min if side == "max" else max)((each for each in able if each.id in known), key=lambda each: known[each.id])
    who = "member of the front and no pruned finalist" if any(each.pruned for each in able) else "member of the front"
    who += f" within {' and '.join(kept)}" if kept else ""
    name = names[best.id]
    verb = f"no {who} meets {option} {text}: the nearest has {describe(name, best.candidate.metrics[name])}"
    raise InfeasibleError(verb, len(able), {metric: known[best.id]})


def _bounded(each: CandidateRecord, precision: str | None) -> str:
    """The metric of a candidate that a bound of latency is held against: what was measured before what is predicted.

    Args:
        precision: of the files that go out. Where nothing is known of the latency in it, the metric is that of the candidate's own.
    """
    if precision == "int8" and each.candidate.target.precision != "int8" and INT8_LATENCY in each.candidate.metrics:
        return INT8_LATENCY
    return MEASURED if MEASURED in each.candidate.metrics else LATENCY


def judged_otherwise(each: CandidateRecord, form: str, precision: str) -> str:
    """What a bound of latency was held against, where that is not what goes out; else empty."""
    own = each.candidate.target
    seen = replace(own, precision="int8") if _bounded(each, precision) == INT8_LATENCY else own
    out = _goes_out_on(each, form, precision)
    if out == seen:
        return ""
    return f"--max-latency was held against {each.id} on {seen.key}; its latency on {out.key} is in the card, where it is known"


def contradicted(each: CandidateRecord, form: str, precision: str) -> str:
    """What the measured latency says against the predicted one, where both are of what goes out; else empty."""
    from nas.report.units import contradiction

    is_made = (form, precision) == ("openvino", "int8")  # for the export: the study measured another file
    if is_made or _goes_out_on(each, form, precision) != each.candidate.target:
        return ""
    return contradiction(each.candidate.metrics)


def _goes_out_on(each: CandidateRecord, form: str, precision: str) -> Target:
    """The target that a candidate's file of a form and precision is for."""
    own = each.candidate.target
    return replace(own, precision=precision, runtime="openvino" if form == "openvino" else own.runtime)
