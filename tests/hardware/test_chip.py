from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from nas.errors import InputError
from nas.hardware.chip import chip_facts, told_facts
from nas.hardware.newcomer import copy_shipped, own_profile, write_profile
from nas.hardware.profile import load_profile
from nas.resources import data_root

PI4 = (
    "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU part\t: 0xd08\n\n"
    "Hardware\t: BCM2835\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n"
)
HELLO: dict[str, Any] = {"runtimes": {"onnxruntime": {"version": "1.22.0", "precisions": ["fp32", "int8"]}}}


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def pi4(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    write(root, "proc/cpuinfo", PI4)
    write(root, "proc/meminfo", "MemTotal:        3884360 kB\n")
    write(root, "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "1800000\n")
    for index, (level, kind, size) in enumerate((("1", "Data", "32K"), ("1", "Instruction", "48K"), ("2", "Unified", "1M"))):
        for name, value in (("level", level), ("type", kind), ("size", size)):
            write(root, f"sys/devices/system/cpu/cpu0/cache/index{index}/{name}", value)
    return root


def test_a_board_says_what_it_is(pi4: Path) -> None:
    facts = chip_facts(pi4)
    chip = {name: fact["value"] for name, fact in facts["chip"].items()}
    assert facts["title"] == "Raspberry Pi 4 Model B Rev 1.4"
    assert chip["cpu"] == "BCM2835, Cortex-A72"
    assert (chip["clock_hz"], chip["macs_per_cycle"], chip["memory_bytes"]) == (1.8e9, 4, 3884360 * 1024)
    assert (chip["l1d_bytes"], chip["l2_bytes"]) == (32768, 2**20)
    assert chip["memory_bytes_per_s"] > 1e8
    assert all(fact["source"] for fact in facts["chip"].values())


def test_a_board_of_two_kinds_of_cores_is_its_fastest(tmp_path: Path) -> None:
    small, big = (
        "Features\t: fp asimd\nCPU part\t: 0xd05\n",
        "model name\t: ARMv8 Processor rev 0\nFeatures\t: fp asimd asimddp\nCPU part\t: 0xd0b\n",
    )
    write(tmp_path, "proc/cpuinfo", f"processor\t: 0\n{small}\nprocessor\t: 1\n{big}\nprocessor\t: 10\n{small}\nHardware\t: RK3588\n")
    for core, clock, cache in ((0, "1800000", "32K"), (1, "2400000", "64K"), (10, "1800000", "32K")):
        folder = f"sys/devices/system/cpu/cpu{core}"
        write(tmp_path, f"{folder}/cpufreq/cpuinfo_max_freq", clock)
        for name, value in (("level", "1"), ("type", "Data"), ("size", cache)):
            write(tmp_path, f"{folder}/cache/index0/{name}", value)
    chip = {name: fact["value"] for name, fact in told_facts(tmp_path)["chip"].items()}
    assert chip["cpu"] == "RK3588, Cortex-A76"
    assert (chip["clock_hz"], chip["macs_per_cycle"], chip["l1d_bytes"]) == (2.4e9, 8, 65536)
    (tmp_path / "sys/devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq").unlink()
    assert told_facts(tmp_path)["chip"]["cpu"]["value"] == "RK3588, Cortex-A55"


def test_a_virtual_machine_shows_no_turbo(tmp_path: Path) -> None:
    write(tmp_path, "proc/cpuinfo", "processor\t: 0\nmodel name\t: Some Server\ncpu MHz\t\t: 2000.000\nflags\t\t: fpu avx2 fma\n")
    chip = told_facts(tmp_path)["chip"]
    assert chip["clock_hz"]["value"] == pytest.approx(2.8e9)
    assert (chip["cpu"]["value"], chip["simd"]["value"]) == ("Some Server", "AVX2 with FMA")


def test_a_machine_that_says_nothing_is_assumed(tmp_path: Path) -> None:
    chip = chip_facts(tmp_path)["chip"]
    assert "assumption" in chip["clock_hz"]["source"]
    assert "assumed" in chip["simd"]["value"]


def test_a_new_device_gets_a_profile(pi4: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    profile = write_profile("mychip", {**chip_facts(pi4), "machine": "aarch64"}, HELLO)
    loaded = load_profile("mychip")
    assert loaded == profile
    assert loaded.folder.resolve() == tmp_path / "hw_profiles" / "mychip"
    assert loaded.power.assumed
    assert loaded.power.at(0) == 3.0
    predictor = loaded.predictor(loaded.target())
    assert predictor.measurements == 0


def test_measurements_go_to_a_folder_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = load_profile("raspberrypi4")
    assert shipped.folder.resolve().is_relative_to(data_root("hw_profiles"))
    own = own_profile(shipped)
    assert own.folder == tmp_path / "hw_profiles" / "raspberrypi4"
    assert not own.folder.exists()
    copy_shipped(shipped, own.folder)
    assert load_profile("raspberrypi4").folder.resolve() == own.folder
    assert own.predictor(own.target()) == shipped.predictor(shipped.target())
    assert own_profile(load_profile("raspberrypi4")).folder == load_profile("raspberrypi4").folder


def test_half_a_copy_of_a_shipped_profile_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped, copy = load_profile("raspberrypi4"), shutil.copyfile
    own = own_profile(shipped)

    def until_full(source: os.PathLike[str], to: str, **options: bool) -> None:
        if to.endswith(".json"):
            Path(to).write_text("{")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), to)
        copy(source, to, **options)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", until_full)
        with pytest.raises(InputError, match="cannot copy the profile of raspberrypi4"):
            copy_shipped(shipped, own.folder)
    assert not (own.folder / "profile.yaml").exists()
    assert load_profile("raspberrypi4").folder == shipped.folder
    copy_shipped(shipped, own.folder)
    copied = load_profile("raspberrypi4")
    assert copied.folder.resolve() == own.folder
    assert copied.predictor(copied.target()) == shipped.predictor(shipped.target())
