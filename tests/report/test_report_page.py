"""report.html: question, answer, table, doubts, cost and commands, each with what the study says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from nas.config import SearchConfig
from nas.metrics import Constraint
from nas.report.certainty import sure_of_front
from nas.report.facts import PredictorFacts, StudyFacts
from nas.report.front import FrontRecord
from nas.report.highlights import highlights
from nas.report.report_page import report_html
from nas.report.units import contradiction, describe

from .examples import EVIL, example_facts, measured, with_drawings, without_energy
from .strategies import example_front, with_pruned
from .studies import COST
from .test_figures import three_objectives

VOID = {"meta", "img", "br", "source", "rect", "path"}


class Page(HTMLParser):
    """Words and ids of a page; refuses tags that are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        assert len(known) == len(attrs), f"{tag} has an attribute twice"
        self.ids += [value for key, value in attrs if key == "id" and value]
        self.links += [value[1:] for key, value in attrs if key == "href" and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closes another"

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def facts() -> StudyFacts:
    return example_facts(with_drawings(measured(example_front())), with_drawings(example_front(device="pixel3")))


@pytest.fixture(scope="module")
def page(facts: StudyFacts) -> str:
    return report_html(facts)


def test_the_page_holds_together(page: str) -> None:
    parsed = Page(page)
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert set(parsed.links) <= set(parsed.ids)
    assert not re.search(r'(src|href|srcset)="(?!data:|#)', page)


def test_question_and_answer(facts: StudyFacts, page: str) -> None:
    text = Page(page).text
    for words in ("1.23 M architectures", "1,077 train, 360 search-validation, 360 test images of 10 classes", "maximize search accuracy"):
        assert words in text
    for front in facts.fronts:
        for each in highlights(front).values():
            assert each.id in text
            assert describe("latency_s", each.candidate.metrics["latency_s"]) in text
    assert "the knee takes" in text


def test_constraints_are_in_the_question(facts: StudyFacts) -> None:
    bounds = (Constraint("latency_s", 0.025), Constraint("accuracy_search", 0.9, "min"))
    config = SearchConfig(**{**facts.config.model_dump(), "constraints": bounds})
    text = Page(report_html(replace(facts, config=config))).text
    assert "latency ≤ 25 ms, search accuracy ≥ 90 %" in text


def test_the_table_has_the_front(facts: StudyFacts, page: str) -> None:
    tables = re.findall(r'<table class="candidates">.*?</table>', page, re.DOTALL)
    assert len(tables) == 2
    for front, table in zip(facts.fronts, tables, strict=True):
        assert re.findall(r"<code>(.*?)</code>", table) == [each.id for each in front.front]
    assert "measured latency, ms" in tables[0]
    assert "measured latency, ms" not in tables[1]


def test_an_accuracy_that_is_modelled_says_so_in_the_table() -> None:
    front = example_front(3, 0)
    first, *others = front.candidates
    modelled = replace(first.candidate.metrics["accuracy_search"], scope="int8, drop modelled from 24 quantised networks")
    twin = replace(first, candidate=replace(first.candidate, metrics={**first.candidate.metrics, "accuracy_search": modelled}))
    page = report_html(example_facts(replace(front, candidates=(twin, *others))))
    assert '<span class="soft">supernet; supernet, int8, drop modelled from 24 quantised networks</span>' in page


def test_what_was_pruned_is_in_the_table() -> None:
    front = with_pruned(example_front())
    page = report_html(example_facts(front))
    name = front.finalists[-1].id
    assert f"<code>{name}</code> ★ pruned" in page
    assert f'href="#net-{name}"' in page  # it is the fastest, so it has a card
    facts = example_facts(front)
    facts = replace(facts, config=facts.config.model_copy(update={"prune": 0.7}))
    text = Page(report_html(facts)).text
    for words in (
        "Chosen by validation accuracy, for pruned networks have no search accuracy, among 5 that are trained, 1 of them pruned",
        "and once more each in fp32, pruned to 70 % of its predicted latency (--prune), where it earns a place",
        "5 finalists (1 of them pruned), each tested once",
        "1 of 13 members of the front and pruned finalists spend more",
        "pruned · fastest",
    ):
        assert words in text, words


def test_how_sure(page: str) -> None:
    text = Page(page).text
    for words in (
        "a model fitted to 177 latencies: HW-NAS-Bench (Li et al. 2021); held-out error 14.1 %; 90 % band ×/÷ 1.34",
        "1 of 12 members of the front spend more than a quarter of their predicted time in operators unlike those measured",
        "2 of 12 members of the front gain so little",
        "4 finalists, each tested once",
        "The last 12 of 59 trials added",
        "two images cannot be read",
        "int8 latency, throttling",
    ):
        assert words in text
    assert page.count("data:image/png;base64,") == 1  # predicted against measured, of the device that was measured


def test_a_device_of_which_nothing_was_measured_says_so(facts: StudyFacts) -> None:
    nothing = {"raspberrypi4": PredictorFacts(0, None, 3.0, "chip facts")}
    text = Page(report_html(replace(facts, predictors=nothing))).text
    assert "a model that nothing measured was fitted to: chip facts; nothing was held out; 90 % band ×/÷ 3.00" in text
    assert "every figure is an extrapolation" in text
    assert "nas measure --device raspberrypi4" in text


def test_a_measurement_comes_before_its_prediction_and_one_outside_the_band_is_told() -> None:
    front = measured(example_front())
    far = front.finalists[0]
    seen = far.candidate.metrics["latency_s"]
    metrics = {**far.candidate.metrics, "latency_s": replace(seen, low=0.99 * seen.value, high=1.05 * seen.value)}
    tried = replace(far, candidate=replace(far.candidate, metrics=metrics))
    told = replace(front, candidates=tuple(tried if each == far else each for each in front.candidates))
    known = example_facts(told)
    assert dict(sure_of_front(told, None))["Measured"].startswith(
        f"1 of {len(front.finalists)} finalists that ran on the target: {far.id} ("
    )
    assert "took a time inside the band of its prediction" in dict(sure_of_front(front, None))["Measured"]
    page = report_html(known)
    assert contradiction(metrics) in Page(page).text
    knee = highlights(told)["knee"]
    assert ("(measured) and classifies" in Page(page).text) == knee.finalist
    (table,) = re.findall(r'<table class="candidates">.*?</table>', page, re.DOTALL)
    assert 0 < table.index("measured latency, ms") < table.index(">latency, ms")


def test_what_was_left_out_is_told(facts: StudyFacts) -> None:
    log = ({"time": "2026-01-01T10:00:00+00:00", "kind": "warning", "text": "int8 is left out on pixel3: nobody measured it"},)
    assert "int8 is left out on pixel3: nobody measured it" in Page(report_html(replace(facts, log=log))).text


def test_every_predictor_of_a_device_says_how_sure_it_is(facts: StudyFacts) -> None:
    front = facts.fronts[0]
    fp32 = front.front[0].candidate.target
    int8 = replace(fp32, precision="int8")
    slowest = front.front[-1]
    placed = tuple(
        replace(each, candidate=replace(each.candidate, target=int8), artifacts={}) if each == slowest else each
        for each in front.candidates
    )
    small = PredictorFacts(4, 0.097, 1.16, "this machine", targets=(int8,))
    known = PredictorFacts(40, 0.05, 1.1, "HW-NAS-Bench", targets=(fp32,), others=(small,))
    told = dict(sure_of_front(replace(front, candidates=placed), known))
    assert told["Latency, 1 thread, fp32"].startswith("Predicted by a model fitted to 40 latencies")
    assert told["Latency, 1 thread, int8"] == (
        "Predicted by a model fitted to 4 latencies: this machine; held-out error 9.7 %; 90 % band ×/÷ 1.16 inside the measured range."
    )
    assert "Latency, 1 thread, int8" not in dict(sure_of_front(front, known))  # nobody of the front is in int8


def test_cost_and_commands(page: str) -> None:
    text = Page(page).text
    assert "Training the supernet 1 min 00 s" in text
    assert "Searching 40 s" in text
    assert "Supernet trained: 6 epochs, 102 steps, 60 s." in text
    for command in (
        "nas pick digits-1 --device raspberrypi4 --max-latency",
        "nas export digits-1 --device raspberrypi4 --knee",
        "nas measure --device pixel3 --via ssh://user@host -n 40",
        "nas search --resume digits-1 --trials 300",
    ):
        assert command in text
    assert "nas measure --device raspberrypi4" not in text


def test_chip_and_use(facts: StudyFacts, page: str) -> None:
    text = Page(page).text
    assert (
        page.count("Multiply-adds a second over arithmetic intensity")
        == page.count("Energy over multiply-adds of the")
        == len(facts.fronts)
    )
    for words in (
        "6 GMAC/s (published: 48 GFLOP/s fp32 peak",
        "multiply-adds rank energy (modelled, board) with Spearman's ρ = 0.9",
        "Assumed: 1,000,000 inferences a day",
        "recommended: the knee",
        "nas impact digits-1 --device raspberrypi4 --pick",
    ):
        assert words in text
    assert "the search's own" not in text  # nobody counted


def test_what_cannot_be_shown_is_left_out_with_a_word(facts: StudyFacts) -> None:
    fronts = tuple(map(without_energy, facts.fronts))
    text = Page(report_html(replace(facts, fronts=with_search(fronts, COST), ceilings={}))).text
    assert "There is no roofline plot: no peaks of a chip are known for raspberrypi4." in text
    assert "The energy of an inference on raspberrypi4 is not known" in text
    assert "kWh a year" not in text
    assert "In all 1 min 35 s 0.0019 9.5e-05" in text


def with_search(fronts: tuple[FrontRecord, ...], search: Mapping[str, float | str]) -> tuple[FrontRecord, ...]:
    return tuple(replace(front, search={**front.search, **search}) for front in fronts)


def test_each_network_is_drawn_once(facts: StudyFacts, page: str) -> None:
    archs = {each.candidate.arch.arch_id for front in facts.fronts for each in front.finalists}
    assert page.count('<svg xmlns="http://www.w3.org/2000/svg" role="img"') == len(archs)


@pytest.mark.parametrize(
    "front",
    [
        example_front(0, 0),
        example_front(1, 0),
        example_front(0, 3),
        three_objectives(example_front()),
        replace(example_front(), objectives=("accuracy_search", "params"), reference_point=(0.0, 1e7)),
    ],
    ids=["empty", "one", "only dominated", "three objectives", "without latency"],
)
def test_fronts_of_every_shape(front: FrontRecord) -> None:
    text = Page(report_html(StudyFacts(example_facts(front).config, (front,)))).text
    assert ("No candidate is on the front" in text) == (not front.front)


def test_words_cannot_break_out_of_the_page() -> None:
    front = with_drawings(example_front(3, 1))
    named = tuple(replace(each, title=EVIL, note=EVIL) for each in front.candidates)
    facts = example_facts(replace(front, data=EVIL, space=EVIL, candidates=named, search={"target": EVIL, "seconds": 3.0}))
    page = report_html(replace(facts, log=({"time": "2026-01-01T10:00:00+00:00", "kind": "warning", "text": EVIL},)))
    assert "<script>window.broken" not in page
    assert "onerror='" not in page
    assert EVIL in " ".join(Page(page).words)
