"""A real Ray cluster of two nodes on this machine."""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.architecture import Architecture
from nas.errors import ClusterError, MissingExtraError, NasError
from nas.search.evaluators import Evaluation, EvaluatorContext
from nas.search.executors import Executor, InProcess, LostError, open_executor
from nas.search.underway import ATTEMPTS
from tests.training.test_checkpoints import files_of_at_most

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'hwnas[ray]'")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        made.second = made.add_node(num_cpus=1)
        made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()


def test_a_cluster_gives_what_this_process_gives_and_survives_a_lost_node(cluster: Any, context: EvaluatorContext, tmp_path: Path) -> None:
    space = context.space
    archs = [space.smallest, space.largest, *(space.sample(seed) for seed in range(4))]
    here, there = open_executor("supernet", context, 1), open_executor("supernet", context, 1, ray=cluster.address)
    try:
        assert isinstance(here, InProcess)
        assert there.capacity == 2
        one_by_one = [here.submit(arch).result().metrics for arch in archs]
        futures = [there.submit(arch) for arch in archs]
        stranger = there.submit(Architecture("of_nobody", ()))
        assert [future.result(timeout=120).metrics for future in futures] == one_by_one
        with pytest.raises(NasError, match="of_nobody"):
            stranger.result(timeout=120)
        futures = [there.submit(arch) for arch in archs]
        cluster.remove_node(cluster.second, allow_graceful=False)
        assert [_kept(there, arch, future) for arch, future in zip(archs, futures, strict=True)] == one_by_one
    finally:
        there.close()


def _kept(executor: Executor, arch: Architecture, future: Future[Evaluation]) -> Mapping[str, float]:
    """What a driver gets: an evaluation whose node is gone is lost, no other error, and tried again elsewhere."""
    for _ in range(ATTEMPTS - 1):
        try:
            return future.result(timeout=60).metrics
        except LostError:
            future = executor.submit(arch)
    return future.result(timeout=60).metrics


def test_room_is_what_others_leave(cluster: Any, context: EvaluatorContext) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(address=cluster.address, ignore_reinit_error=True, logging_level="ERROR", log_to_driver=False)
        cluster.add_node(num_cpus=3)
        cluster.wait_for_nodes()
        other = ray.util.placement_group([{"CPU": 2}])
        assert other.wait(60)
    try:
        total = int(ray.cluster_resources()["CPU"])
        _until(lambda: ray.available_resources().get("CPU", 0) <= total - 2)
        pool = open_executor("supernet", context, 1, ray=cluster.address)
        assert pool.capacity == total - 2
        pool.close()
    finally:
        ray.util.remove_placement_group(other)
        ray.shutdown()


def _until(holds: Callable[[], bool]) -> None:
    """What a cluster tells of itself comes a moment late."""
    for _ in range(100):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError("the cluster does not tell what is taken")


def test_weights_reach_machines_that_do_not_have_them(context: EvaluatorContext, tmp_path: Path) -> None:
    from nas.search.executors.cluster import _evaluate_remotely

    assert context.weights is not None
    away = replace(context, weights=tmp_path / "of another machine.safetensors", cache=tmp_path / "no such folder")
    found = _evaluate_remotely("supernet", away, context.weights.read_bytes(), context.space.smallest)
    assert found.metrics == InProcess("supernet", context).submit(context.space.smallest).result().metrics


def test_weights_of_a_workers_own_are_not_taken_for_the_searchs(context: EvaluatorContext, tmp_path: Path) -> None:
    from nas.search.executors.cluster import _evaluate_remotely

    assert context.weights is not None
    there = replace(context, weights=tmp_path / "weights.safetensors")
    (tmp_path / "weights.safetensors").write_text("of the same recipe, trained there")
    found = _evaluate_remotely("supernet", there, context.weights.read_bytes(), context.space.smallest)
    assert found.metrics == InProcess("supernet", context).submit(context.space.smallest).result().metrics


def test_a_machine_without_room_for_the_weights_loses_the_evaluation(
    context: EvaluatorContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nas.search.executors.cluster import _evaluate_remotely

    assert context.weights is not None
    full = tmp_path / "no folder"
    full.touch()
    monkeypatch.setattr(tempfile, "tempdir", str(full))
    away = replace(context, weights=tmp_path / "of another machine.safetensors")
    with pytest.raises(LostError, match="has no place for what an evaluation needs"):
        _evaluate_remotely("supernet", away, b"weights", context.space.smallest)


def test_a_machine_whose_disk_is_full_loses_it_too(context: EvaluatorContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.search.executors.cluster import _evaluate_remotely

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    away = replace(context, weights=tmp_path / "of another machine.safetensors")
    with files_of_at_most(1000), pytest.raises(LostError, match="has no place for what an evaluation needs: cannot write "):
        _evaluate_remotely("supernet", away, bytes(2000), context.space.smallest)


def test_images_that_workers_do_not_have_are_said_before_the_search(cluster: Any, context: EvaluatorContext, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"has no .*absent\.zip: put the images on a path that all machines share"):
        open_executor("supernet", replace(context, data=str(tmp_path / "absent.zip")), 1, ray=cluster.address)
    assert not ray.is_initialized()  # what it began to reach the cluster was ended


@pytest.mark.parametrize(("address", "reason"), [("127.0.0.1:1", "Connection refused"), ("ray://head", "an address is HOST:PORT")])
def test_an_address_where_nothing_answers(context: EvaluatorContext, address: str, reason: str) -> None:
    ray.shutdown()
    with pytest.raises(ClusterError, match=rf"no Ray cluster answers at '{address}': .*{reason}.*ray start --head"):
        open_executor("supernet", context, 1, ray=address)


def test_without_ray_the_extra_is_named(context: EvaluatorContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r'pip install "hwnas\[ray\]"'):
        open_executor("supernet", context, 1, ray="auto")
