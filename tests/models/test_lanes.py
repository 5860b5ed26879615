"""Batches side by side: results in order, whatever the number of threads, and an error ends them all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas.errors import TrainingError
from nas.models.lanes import each_on_a_thread, threads_for
from nas.models.network import Network, recalibrate
from nas.training.evaluate import accuracy
from tests.spaces import rich_space

ALL = 3


@pytest.fixture
def threads() -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(ALL)
    yield ALL
    torch.set_num_threads(before)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers()), st.integers(1, 5))
def test_results_come_in_the_order_of_the_items(items: list[int], threads: int) -> None:
    assert each_on_a_thread(lambda: lambda item: item * 2, iter(items), threads) == [item * 2 for item in items]


def test_each_thread_opens_its_own_and_computes_without_gradients() -> None:
    together = threading.Barrier(2, timeout=10)
    opened: list[int] = []

    def open_lane() -> Callable[[int], tuple[int, int, bool]]:
        opened.append(threading.get_ident())
        together.wait()  # both threads have an item: neither takes all
        return lambda _: (threading.get_ident(), torch.get_num_threads(), torch.is_grad_enabled())

    found = each_on_a_thread(open_lane, range(8), 2)
    assert len(set(opened)) == 2
    assert {lane for lane, _, _ in found} <= set(opened)
    assert {(each, grad) for _, each, grad in found} == {(1, False)}


def test_torch_has_as_many_threads_afterwards_as_before(threads: int) -> None:
    each_on_a_thread(lambda: abs, range(4), threads)
    assert torch.get_num_threads() == threads
    seen: list[int] = []
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [threads]


def test_an_error_ends_all_and_begins_no_further_item() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(10_000):
            taken.append(item)
            yield item

    def work(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    with pytest.raises(ValueError, match="three"):
        each_on_a_thread(lambda: work, items(), 2)
    assert len(taken) < 10_000


def test_an_error_of_the_items_themselves_comes_through() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        each_on_a_thread(lambda: abs, items(), 2)


def test_threads_do_not_change_what_a_network_learns_of_its_batches(threads: int) -> None:
    """Statistics are put together in the order of the batches; a convolution by one thread or by three rounds alike within float32."""
    space = rich_space()
    network = Network(space.decode(space.sample(1)))
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(6, 1, 8, 8, generator=generator) + number for number in range(7)]
    labelled = [(batch, torch.randint(10, (6,), generator=generator)) for batch in batches]

    def found() -> tuple[list[torch.Tensor], tuple[int, int]]:
        recalibrate(network, iter(batches))
        return [buffer.clone() for buffer in network.buffers()], accuracy(network, iter(labelled))

    assert threads_for(network) == threads
    several, right = found()
    again, right_again = found()
    assert all(torch.equal(one, two) for one, two in zip(several, again, strict=True))
    torch.set_num_threads(1)
    alone, right_alone = found()
    for one, two in zip(several, alone, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)
    assert right == right_again == right_alone


def test_a_network_without_weights_is_the_processors(threads: int) -> None:
    assert threads_for(nn.Identity()) == threads


def test_an_error_in_a_thread_is_the_callers(threads: int) -> None:
    del threads
    with pytest.raises(TrainingError, match="not finite"):
        accuracy(nn.Identity(), [(torch.full((2, 3), torch.nan), torch.zeros(2, dtype=torch.long))] * 4)
