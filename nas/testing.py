"""Contracts as test classes: a plug-in inherits one, gives its object, and is tested as the built-in ones are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nas.architecture import Architecture
from nas.errors import InputError, LinkLostError, MeterError, ModelFileError, NasError
from nas.hardware.jobs import PROTOCOL
from nas.hardware.measurement import Measurement
from nas.hardware.meters import EnergyMeter
from nas.hardware.meters.base import Clock, impossible
from nas.hardware.runtimes import Runtime
from nas.hardware.transports import Transport
from nas.metrics import UNITS
from nas.target import PRECISIONS

if TYPE_CHECKING:  # a device that tests a runtime has no torch
    from nas.search.evaluators import Evaluator
    from nas.search.sampler import SamplerContext
    from nas.search.scoring import Scorer
    from nas.search.storage import BaseSampler, Study, Trial

    MakeSampler = Callable[[SamplerContext], BaseSampler]

__all__ = ["EnergyMeterContract", "EvaluatorContract", "RuntimeContract", "SamplerContract", "TransportContract"]

ASKED = 20
"""Trials that a sampler is asked for: more than its first ones, which many draw at random."""


class RuntimeContract:
    """What every runtime keeps. Override `runtime`, `model_path`, and what of the others it can give."""

    @pytest.fixture
    def runtime(self) -> Runtime:
        """The runtime under test."""
        raise NotImplementedError

    @pytest.fixture
    def model_path(self, tmp_path: Path) -> Path:
        """A small fp32 model file with an open batch that the runtime can run."""
        raise NotImplementedError

    @pytest.fixture
    def int8_path(self) -> Path:
        """The same in int8; skips by default."""
        pytest.skip("no int8 model is given")

    @pytest.fixture
    def unknown_op_path(self) -> Path:
        """A model with an operator that does not exist; skips by default."""
        pytest.skip("no model with an unknown operator is given")

    @pytest.fixture
    def open_size_path(self) -> Path:
        """A model with an open image size; skips by default."""
        pytest.skip("no model with an open image size is given")

    @pytest.fixture
    def external_data_path(self) -> Path:
        """A model whose external weights are missing; skips by default."""
        pytest.skip("no model with external data is given")

    def test_says_what_it_is(self, runtime: Runtime) -> None:
        assert runtime.name
        assert runtime.version()
        assert runtime.precisions()
        assert set(runtime.precisions()) <= set(PRECISIONS)

    @pytest.mark.parametrize("threads", [1, 2])
    def test_runs_more_than_once(self, runtime: Runtime, model_path: Path, threads: int) -> None:
        with runtime.open(model_path, threads) as run:
            for _ in range(3):
                run()

    def test_two_models_are_open_at_once(self, runtime: Runtime, model_path: Path) -> None:
        with runtime.open(model_path, 1) as first, runtime.open(model_path, 1) as second:
            first()
            second()
            first()

    def test_says_what_it_will_do_with_a_model(self, runtime: Runtime, model_path: Path) -> None:
        found = runtime.inspect(model_path, 1)
        assert found.precision == "fp32"
        assert found.ops
        assert all(count > 0 for _, count in found.ops)
        assert all(isinstance(each, str) for each in found.foreign)

    def test_says_that_int8_is_int8(self, runtime: Runtime, int8_path: Path) -> None:
        if "int8" not in runtime.precisions():
            pytest.skip(f"{runtime.name} has no int8 here")
        assert runtime.inspect(int8_path, 1).precision == "int8"
        with runtime.open(int8_path, 1) as run:
            run()

    def test_a_file_that_is_no_model_is_refused(self, runtime: Runtime, tmp_path: Path) -> None:
        broken = tmp_path / "broken.onnx"
        broken.write_bytes(b"no model")
        with pytest.raises(ModelFileError, match="broken"), runtime.open(broken, 1):
            pass
        with pytest.raises(ModelFileError, match="broken"):
            runtime.inspect(broken, 1)

    def test_a_truncated_file_is_refused(self, runtime: Runtime, model_path: Path) -> None:
        cut = model_path.with_name(f"cut{model_path.suffix}")
        cut.write_bytes(model_path.read_bytes()[: model_path.stat().st_size // 2])
        with pytest.raises(ModelFileError, match="cut"), runtime.open(cut, 1):
            pass

    def test_an_absent_file_is_refused(self, runtime: Runtime, tmp_path: Path) -> None:
        with pytest.raises(ModelFileError, match="absent"), runtime.open(tmp_path / "absent.onnx", 1):
            pass

    def test_an_unknown_operator_is_refused(self, runtime: Runtime, unknown_op_path: Path) -> None:
        with pytest.raises(ModelFileError, match=unknown_op_path.name), runtime.open(unknown_op_path, 1):
            pass

    def test_an_open_image_size_is_refused(self, runtime: Runtime, open_size_path: Path) -> None:
        with pytest.raises(ModelFileError, match="fixed image size"), runtime.open(open_size_path, 1):
            pass

    def test_missing_external_data_are_refused(self, runtime: Runtime, external_data_path: Path) -> None:
        with pytest.raises(ModelFileError, match=external_data_path.name), runtime.open(external_data_path, 1):
            pass

    def test_no_threads_are_refused(self, runtime: Runtime, model_path: Path) -> None:
        with pytest.raises(InputError, match="threads"), runtime.open(model_path, 0):
            pass


class EnergyMeterContract:
    """What every energy meter keeps. Override `meter`, and `pass_time` where its time is not this machine's."""

    @pytest.fixture
    def meter(self) -> Iterator[EnergyMeter]:
        """The meter under test, working."""
        raise NotImplementedError

    @pytest.fixture
    def broken(self) -> EnergyMeter:
        """One that cannot work here; skips by default."""
        pytest.skip("no meter that cannot work is given")

    @pytest.fixture
    def pass_time(self) -> Callable[[float], None]:
        """Lets seconds go by in which something is drawn."""
        return Clock().wait

    def test_says_what_it_is(self, meter: EnergyMeter) -> None:
        assert meter.name
        assert meter.scope
        assert meter.resolution_s >= 0
        assert meter.most_w is None or meter.most_w > 0

    def test_its_self_test_passes_again_and_again(self, meter: EnergyMeter) -> None:
        meter.self_test()
        meter.self_test()

    def test_windows_follow_one_another(self, meter: EnergyMeter, pass_time: Callable[[float], None]) -> None:
        meter.self_test()
        meter.align(pass_time, pass_time)
        for _ in range(2):
            meter.begin()
            pass_time(0.5)
            window = meter.end()
            assert not impossible(window, meter.most_w)
            assert window.seconds >= 0.4
            assert window.readings >= 2

    def test_a_window_that_was_not_begun_cannot_end(self, meter: EnergyMeter) -> None:
        with pytest.raises(MeterError):
            meter.end()

    def test_it_closes_twice(self, meter: EnergyMeter) -> None:
        meter.close()
        meter.close()

    def test_one_that_cannot_work_says_why(self, broken: EnergyMeter) -> None:
        with pytest.raises(MeterError, match=r"\w+ \w+ \w+"):
            broken.self_test()


class EvaluatorContract:
    """What every evaluator keeps, of accuracy or of a proxy. Override `evaluator` and `archs`."""

    @pytest.fixture
    def evaluator(self) -> Evaluator:
        """The evaluator under test."""
        raise NotImplementedError

    @pytest.fixture
    def archs(self) -> list[Architecture]:
        """At least three different architectures that it can evaluate."""
        raise NotImplementedError

    def test_says_what_it_gives_and_needs(self, evaluator: Evaluator) -> None:
        assert evaluator.gives in UNITS
        assert evaluator.gives != "accuracy_test", "the test set is for finalists only"
        assert evaluator.needs <= {"supernet", "table"}

    def test_gives_each_architecture_a_value_its_error_and_its_cost(self, evaluator: Evaluator, archs: list[Architecture]) -> None:
        found = evaluator.evaluate(archs)
        assert len(found) == len(archs) >= 3
        for evaluation in found:
            metric = evaluation.metrics[evaluator.gives]
            assert metric.std is not None
            assert metric.std > 0
            assert metric.source != "measured"
            assert 0 <= evaluation.seconds < math.inf
            assert all(each.unit == UNITS[name] for name, each in evaluation.metrics.items())
            if evaluator.gives == "accuracy_search":
                assert 0 <= metric.value <= 1
            else:
                assert not any(name.startswith("accuracy") for name in evaluation.metrics), "a proxy is never shown as accuracy"

    def test_says_the_same_again_in_any_order_and_company(self, evaluator: Evaluator, archs: list[Architecture]) -> None:
        together = [evaluation.metrics for evaluation in evaluator.evaluate(archs)]
        assert [evaluation.metrics for evaluation in evaluator.evaluate(archs)] == together
        assert [evaluation.metrics for evaluation in evaluator.evaluate(archs[::-1])] == together[::-1]
        assert [evaluator.evaluate([arch])[0].metrics for arch in archs] == together

    def test_nothing_is_evaluated_where_nothing_is_asked(self, evaluator: Evaluator) -> None:
        assert evaluator.evaluate([]) == []

    def test_an_architecture_of_another_space_is_refused(self, evaluator: Evaluator, archs: list[Architecture]) -> None:
        with pytest.raises(NasError):
            evaluator.evaluate([Architecture("of_nobody", archs[0].genes)])
        assert len(evaluator.evaluate(archs[:1])) == 1


class SamplerContract:
    """What every sampler keeps, asked as a search asks it: through `UniqueSampler`, where latency is known. Override `make`."""

    @pytest.fixture
    def make(self) -> MakeSampler:
        """What is registered: makes the sampler under test for a context."""
        raise NotImplementedError

    @pytest.fixture
    def scorer(self) -> Scorer:
        """The space and its costs: a small one on a board by default."""
        from nas.hardware.profile import load_profile
        from nas.search.scoring import Scorer
        from nas.space import load_space

        profile = load_profile("raspberrypi4")
        target = profile.target()
        return Scorer(load_space("mobilenet_tiny"), target, profile.predictor(target), None)

    def test_asks_for_architectures_of_the_space_and_for_none_twice(self, make: MakeSampler, scorer: Scorer) -> None:
        study = _study(make, scorer)
        asked = [_asked_and_told(study, scorer) for _ in range(ASKED)]
        assert len(set(asked)) == ASKED

    def test_one_seed_asks_for_the_same_again(self, make: MakeSampler, scorer: Scorer) -> None:
        first, again = ([_asked_and_told(study, scorer) for _ in range(ASKED)] for study in (_study(make, scorer), _study(make, scorer)))
        assert first == again

    def test_goes_on_beside_trials_under_way_and_after_failures(self, make: MakeSampler, scorer: Scorer) -> None:
        from nas.search.storage import fail

        study = _study(make, scorer)
        asked = []
        for number in range(ASKED):
            trial, arch = _asked(study, scorer)
            asked.append(arch)
            if number % 4 == 1:
                fail(study, trial, "made up for a test")
            elif number % 4 > 1:  # the others stay under way
                _tell(study, scorer, trial, arch)
        assert len(set(asked)) == ASKED


def _study(make: MakeSampler, scorer: Scorer) -> Study:
    """In memory, with a sampler of its own."""
    from nas.metrics import OBJECTIVES
    from nas.search.sampler import SamplerContext, UniqueSampler
    from nas.search.scored_domain import ScoredDomain
    from nas.search.storage import new_study

    domain = ScoredDomain(scorer, (OBJECTIVES["accuracy"], OBJECTIVES["latency"]), ())
    base = make(SamplerContext(scorer.space, domain, ASKED, seed=3))
    return new_study(("maximize", "minimize"), UniqueSampler(base, scorer.space, lambda _: True, (), seed=3))


def _asked(study: Study, scorer: Scorer) -> tuple[Trial, Architecture]:
    """A new trial and its architecture; an error where it is of another space."""
    from nas.search.sampler import distributions

    trial = study.ask(distributions(scorer.space))
    return trial, scorer.space.canonical(trial.params)


def _tell(study: Study, scorer: Scorer, trial: Trial, arch: Architecture) -> None:
    """Deep networks are good and dear."""
    study.tell(trial, [1 - 1 / len(arch.genes), scorer.metrics(arch)["latency_s"].value])


def _asked_and_told(study: Study, scorer: Scorer) -> Architecture:
    trial, arch = _asked(study, scorer)
    _tell(study, scorer, trial, arch)
    return arch


class TransportContract:
    """What every transport keeps. Override `transport` and `model_path`; the device must have ONNX Runtime."""

    @pytest.fixture
    def transport(self) -> Iterator[Transport]:
        """The transport under test; not connected."""
        raise NotImplementedError

    @pytest.fixture
    def model_path(self, tmp_path: Path) -> Path:
        """A small fp32 ONNX file."""
        raise NotImplementedError

    def test_says_what_is_there(self, transport: Transport) -> None:
        hello = transport.connect()
        assert hello["protocol"] == PROTOCOL
        assert "fp32" in hello["runtimes"]["onnxruntime"]["precisions"]
        facts = transport.ask({"id": "1", "op": "facts"}, 60)
        assert facts["ok"]
        assert facts["facts"]["chip"]["cores"]["value"] >= 1

    def test_measures_what_was_put_there_once(self, transport: Transport, model_path: Path) -> None:
        from nas.config import MeasureProtocol

        transport.connect()
        transport.put(model_path, "model.onnx")
        transport.put(model_path, "model.onnx")
        protocol = MeasureProtocol(windows=2, window_s=0.01, max_repeats=50).model_dump(mode="json")
        job = {"id": "a b/c", "op": "measure", "runtime": "onnxruntime", "model": "model.onnx", "anchor": "model.onnx", "threads": 1}
        answer = transport.ask({**job, "protocol": protocol}, 60)
        assert answer["ok"], answer
        assert answer["precision"] == "fp32"
        assert Measurement.from_dict(answer["measurement"]).latency_s() > 0
        again = transport.ask({**job, "protocol": protocol}, 60)
        assert again["kept"]
        assert again["measurement"] == answer["measurement"]
        assert transport.ask({"id": "f", "op": "forget", "ids": ["a b/c"], "models": ["model.onnx"]}, 60)["ok"]
        assert transport.ask({**job, "protocol": protocol}, 60)["kind"] == "model"

    def test_a_job_that_is_none_is_answered(self, transport: Transport) -> None:
        transport.connect()
        for job in (
            {"op": "dance"},
            {"op": "measure"},
            {"op": "inspect", "model": "../runner.pyz", "runtime": "onnxruntime", "threads": 1},
        ):
            answer = transport.ask({"id": "x", **job}, 60)
            assert not answer["ok"]
            assert answer["kind"] == "input"
            assert answer["message"]

    def test_connecting_again_keeps_what_is_there(self, transport: Transport, model_path: Path) -> None:
        transport.connect()
        transport.put(model_path, "model.onnx")
        transport.connect()
        job = {"id": "i", "op": "inspect", "runtime": "onnxruntime", "model": "model.onnx", "threads": 1}
        assert transport.ask(job, 60)["ok"]

    def test_it_closes_twice_and_is_gone(self, transport: Transport) -> None:
        transport.connect()
        transport.close()
        transport.close()
        with pytest.raises(LinkLostError):
            transport.ask({"id": "1", "op": "facts"}, 60)
