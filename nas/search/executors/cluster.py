"""Evaluations on a Ray cluster. The home of ray."""

from __future__ import annotations

import hashlib
import importlib
import os
import socket
import sys
import tempfile
import warnings
from concurrent.futures import Future
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nas.architecture import Architecture
from nas.errors import ClusterError, InputError, MissingExtraError, NasError
from nas.search.evaluators import Evaluation, EvaluatorContext
from nas.search.executors.base import LostError, evaluate_here

__all__ = ["RayPool", "knock"]

KNOCK_S = 5.0
CONNECT_S = 30.0
"""For the answer of the workers when a search begins."""


class RayPool:
    """One evaluation a task, `cpus` cores each, as many at once as the cluster has room for when the search begins.

    Workers need this package in the same version, and the images where `context.data` says (a shared path); digits come with the package.
    The supernet's weights travel through the object store, once to each node.

    Args:
        address: of a running cluster, "auto" for the one that this machine belongs to, "local" for one of this machine's own.
        workers: evaluations at once at most; None for what the cluster has room for then.
        cpus: cores of one evaluation.

    Raises:
        MissingExtraError: ray is not installed.
        ClusterError: nothing answers there, or a worker lacks this package or has another version of it.
    """

    isolates = True

    def __init__(self, name: str, context: EvaluatorContext, address: str, workers: int | None = None, cpus: int = 1) -> None:
        knock(address)
        import ray

        self._ray, self._name = ray, name
        self._running: dict[Future[Evaluation], Any] = {}
        self._is_ours = not ray.is_initialized()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what Ray will do in its next version
                self._connect(address)
                self._remote: Any = ray.remote(num_cpus=cpus, max_retries=0)(_evaluate_remotely)
                self._weights = None if context.weights is None else ray.put(context.weights.read_bytes())
            self._context = replace(context, threads=cpus)
            self._check_workers(context)
            # Not all that it has: what waits for cores that others hold would be taken for one that hangs.
            resources: Any = ray.available_resources  # untyped in Ray's stubs
            room = int(resources().get("CPU", 0)) // cpus
            self.capacity = max(1, room if workers is None else min(workers, room))
        except BaseException:
            self.close()  # nobody else has it yet
            raise

    def _connect(self, address: str) -> None:
        ray = self._ray
        if not self._is_ours:
            return
        where: dict[str, Any] = {"include_dashboard": False} if address == "local" else {"address": address}
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            ray.init(**where, log_to_driver=False, logging_level="ERROR")
        except (OSError, RuntimeError, ValueError) as exc:
            raise _no_answer(address, exc) from exc

    def _check_workers(self, context: EvaluatorContext) -> None:
        """Asks one worker of each node what it has. A node that has left meanwhile is not asked; none evaluates there."""
        ray = self._ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        probe = ray.remote(num_cpus=0, max_retries=0)(_what_a_worker_has)
        wanted = _versions()
        data = context.data if Path(context.data).is_absolute() else None
        asked = 0
        for node in self._nodes().values():
            place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            name = node["NodeManagerHostname"]
            try:
                found, has_data = ray.get(probe.options(scheduling_strategy=place).remote(data), timeout=CONNECT_S)
            except ray.exceptions.RayError as exc:
                if isinstance(exc, ray.exceptions.TaskUnschedulableError) or node["NodeID"] not in self._nodes():
                    continue
                raise ClusterError(self._no_worker(name, exc, wanted["hwnas"])) from exc
            if found != wanted:
                differing = [f"{key} {found.get(key)} there, {value} here" for key, value in wanted.items() if found.get(key) != value]
                raise ClusterError(f"the worker on {name} has other versions: {', '.join(differing)}. Install the same on all machines")
            if not has_data:
                raise ClusterError(f"the worker on {name} has no {data}: put the images on a path that all machines share")
            asked += 1
        if not asked:
            raise ClusterError("no machine of the cluster answers: ray status says which it has")

    def _nodes(self) -> dict[str, Any]:
        """Those that Ray believes to be alive, by id."""
        nodes: Any = self._ray.nodes  # untyped in Ray's stubs
        return {node["NodeID"]: node for node in nodes() if node["Alive"]}

    def _no_worker(self, name: str, exc: Exception, wanted: str) -> str:
        if isinstance(exc, self._ray.exceptions.GetTimeoutError):
            return f"the worker on {name} did not answer within {CONNECT_S:.0f} s"
        return (
            f"the worker on {name} cannot run this package: {str(exc).strip().splitlines()[-1]}. Install hwnas[search,ray] there, "
            f"version {wanted}, for {sys.executable}'s Python"
        )

    def submit(self, arch: Architecture) -> Future[Evaluation]:
        """See `Executor.submit`."""
        reference = self._remote.remote(self._name, self._context, self._weights, arch)
        future: Future[Evaluation] = Future()
        self._running[future] = reference
        reference.future().add_done_callback(lambda done: self._pass_on(done, future))
        return future

    def _pass_on(self, done: Future[Evaluation], future: Future[Evaluation]) -> None:
        self._running.pop(future, None)
        error, errors = done.exception(), self._ray.exceptions
        if error is None:
            future.set_result(done.result())
        elif isinstance(error, errors.RayTaskError):
            cause = error.cause
            future.set_exception(cause if isinstance(cause, NasError) else NasError(str(error).strip().splitlines()[-1]))
        elif isinstance(error, errors.TaskCancelledError):
            future.set_exception(LostError("it took too long and was given up"))
        else:  # the worker or its node is gone, or out of memory
            future.set_exception(LostError(str(error).strip().splitlines()[0]))

    def abandon(self, future: Future[Evaluation]) -> None:
        """Ends the worker that has it."""
        reference = self._running.get(future)
        if reference is not None:
            self._ray.cancel(reference, force=True)

    def close(self) -> None:
        for reference in list(self._running.values()):
            self._ray.cancel(reference, force=True)
        if self._is_ours:
            self._ray.shutdown()


def knock(address: str) -> None:
    """Whether ray is installed and anything listens there, in seconds: Ray itself tries for minutes.

    Raises:
        MissingExtraError: ray is not installed.
        ClusterError: nothing listens, or that is no address.
    """
    try:
        importlib.import_module("ray")
    except ModuleNotFoundError as exc:
        raise MissingExtraError("ray", "ray") from exc
    if address in ("auto", "local"):
        return
    host, colon, port = address.rpartition(":")
    try:
        if not colon or not port.isdigit() or "/" in host:
            raise ValueError("an address is HOST:PORT, that of the head node's GCS")
        socket.create_connection((host, int(port)), timeout=KNOCK_S).close()
    except (OSError, ValueError, OverflowError) as exc:
        raise _no_answer(address, exc) from exc


def _no_answer(address: str, exc: Exception) -> ClusterError:
    reason = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
    return ClusterError(
        f"no Ray cluster answers at {address!r}: {reason}. Start one with ray start --head, name it with --ray HOST:6379, "
        "or leave --ray out for processes of this machine"
    )


def _versions() -> dict[str, str]:
    return {"hwnas": version("hwnas"), "torch": version("torch"), "python": f"{sys.version_info.major}.{sys.version_info.minor}"}


def _what_a_worker_has(data: str | None) -> tuple[dict[str, str], bool]:
    return _versions(), data is None or Path(data).exists()


def _evaluate_remotely(name: str, context: EvaluatorContext, weights: bytes | None, arch: Architecture) -> Evaluation:
    """On a worker."""
    try:
        context = _settled(context, weights)
    except (InputError, OSError) as exc:
        raise LostError(f"{socket.gethostname()} has no place for what an evaluation needs: {exc}") from exc
    return evaluate_here(name, context, arch)


def _settled(context: EvaluatorContext, weights: bytes | None) -> EvaluatorContext:
    """With files of this machine. The weights lie in one named by their hash: what is at the driver's path may have been trained here."""
    folder = Path(tempfile.gettempdir()) / f"hwnas-{os.getuid()}"
    if weights is not None:
        place = folder / f"{hashlib.sha256(weights).hexdigest()[:16]}.safetensors"
        if not place.is_file():
            from nas.files import write_atomic

            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomic(place, weights)
        context = replace(context, weights=place)
    return context if context.cache.is_dir() else replace(context, cache=folder)
