from __future__ import annotations

import os
import stat
from mmap import mmap
from pathlib import Path

import numpy as np
import pytest

from nas.hardware.device_state import DeviceState, disturbance, memory_bytes, pick_cores, pinned, read_state, reset_peak_memory


def write(root: Path, name: str, value: object) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{value}\n")


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """Two fast and two slow cores, as on a big.LITTLE chip."""
    for core, fastest in enumerate((1_400_000, 1_400_000, 2_400_000, 2_400_000)):
        folder = f"sys/devices/system/cpu/cpu{core}"
        write(tmp_path, f"{folder}/cpufreq/scaling_governor", "ondemand" if core < 2 else "performance")
        write(tmp_path, f"{folder}/cpufreq/scaling_cur_freq", fastest // 2)
        write(tmp_path, f"{folder}/cpufreq/scaling_max_freq", fastest)
        write(tmp_path, f"{folder}/cpufreq/cpuinfo_max_freq", fastest)
        write(tmp_path, f"{folder}/thermal_throttle/core_throttle_count", core)
    write(tmp_path, "sys/class/thermal/thermal_zone0/type", "battery")
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", 90_000)
    write(tmp_path, "sys/class/thermal/thermal_zone1/type", "cpu-thermal")
    write(tmp_path, "sys/class/thermal/thermal_zone1/temp", 61_500)
    return tmp_path


def vcgencmd(folder: Path, text: str, status: int = 0) -> str:
    path = folder / "vcgencmd"
    path.write_text(f"#!/bin/sh\necho '{text}'\nexit {status}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return str(path)


def test_a_board_says_how_it_is(board: Path) -> None:
    state = read_state(board, vcgencmd(board, "throttled=0x50005"))
    assert state == DeviceState("ondemand+performance", 1.2e9, 2.4e9, 61.5, ("under-voltage", "throttled"), 6)
    assert read_state(board, vcgencmd(board, "throttled=0x50000")).throttled == ()
    assert read_state(board, vcgencmd(board, "VCHI initialization failed", 1)).throttled == ()
    assert read_state(board, "/no/such/program").throttled == ()


def test_a_machine_that_says_nothing(tmp_path: Path) -> None:
    assert read_state(tmp_path) == DeviceState()
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", 40_000)
    write(tmp_path, "sys/class/thermal/thermal_zone1/temp", "n/a")
    assert read_state(tmp_path).temperature_c == 40


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (DeviceState("a", clock_limit_hz=2e9, throttled=("under-voltage",)), "throttled: under-voltage"),
        (DeviceState("a", clock_limit_hz=2e9, throttle_events=3), "throttled 3 times"),
        (DeviceState("a", clock_limit_hz=1e9), "from 2000 to 1000 MHz"),
        (DeviceState("b", clock_limit_hz=2e9), "from a to b"),
        (DeviceState("a", clock_hz=1e9, clock_limit_hz=2e9, temperature_c=70), ""),
    ],
)
def test_what_disturbs_a_window(after: DeviceState, words: str) -> None:
    found = disturbance(DeviceState("a", clock_hz=2e9, clock_limit_hz=2e9), after)
    assert words in found
    assert bool(found) == bool(words)


def test_threads_get_the_fastest_cores(board: Path) -> None:
    assert pick_cores(1, range(4), board) == (3,)
    assert pick_cores(2, range(4), board) == (2, 3)
    assert pick_cores(3, range(4), board) == (1, 2, 3)
    assert pick_cores(9, range(4), board) == (0, 1, 2, 3)
    assert pick_cores(1, (0, 1), board) == (1,)


def test_threads_do_not_share_a_core_before_they_must(tmp_path: Path) -> None:
    for core, siblings in enumerate(("0-1", "0-1", "2-3", "2-3")):
        write(tmp_path, f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list", siblings)
    assert pick_cores(2, range(4), tmp_path) == (1, 3)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not pin")
def test_pinning_ends() -> None:
    before = os.sched_getaffinity(0)
    with pinned(1) as cores:
        assert len(cores) == 1
        assert os.sched_getaffinity(0) == set(cores)
    assert os.sched_getaffinity(0) == before


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system does not tell its peak memory")
def test_the_peak_is_of_what_came_after() -> None:
    _touch(2**26)
    reset_peak_memory()
    before, peak = memory_bytes()
    assert peak - before < 2**23
    _touch(2**25)
    now, peak = memory_bytes()
    assert 2**25 - 2**22 < peak - before < 2**26
    assert now < peak


def _touch(size: int) -> None:
    """Pages of its own, given back at once: an allocator may keep what it is given back."""
    with mmap(-1, size) as pages:
        np.frombuffer(pages, dtype=np.uint8)[::4096] = 1


def test_memory_that_is_not_told(tmp_path: Path) -> None:
    reset_peak_memory(tmp_path)
    assert memory_bytes(tmp_path) == (0, 0)
