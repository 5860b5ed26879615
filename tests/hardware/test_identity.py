from __future__ import annotations

from typing import Any

import pytest

from nas.errors import InputError
from nas.hardware.chip import chip_facts
from nas.hardware.host import detect_host
from nas.hardware.identity import check_identity
from nas.hardware.newcomer import profile_of
from nas.hardware.profile import load_profile, parse_profile
from nas.resources import data_root


def facts(machine: str, cpu: str) -> dict[str, Any]:
    return {"machine": machine, "chip": {"cpu": {"value": cpu, "source": "/proc/cpuinfo"}}}


def check(device: str, machine: str, cpu: str) -> str:
    return check_identity(device, load_profile(device).chip, facts(machine, cpu))


@pytest.mark.parametrize("device", sorted(path.parent.name for path in data_root("hw_profiles").glob("*/profile.yaml")))
def test_every_shipped_device_is_told_from_another_architecture(device: str) -> None:
    other = "aarch64" if device in ("intel-n100", "x86-64-vnni") else "x86_64"
    with pytest.raises(InputError, match=f"{device} is .* another architecture"):
        check(device, other, "some chip")


@pytest.mark.parametrize(
    ("device", "machine", "cpu"),
    [
        ("raspberrypi4", "aarch64", "BCM2835, Cortex-A72"), ("raspberrypi5", "aarch64", "Cortex-A76"),
        ("jetson-nano", "aarch64", "Cortex-A57"),
        ("intel-n100", "x86_64", "Intel(R) N100"), ("x86-64-vnni", "x86_64", "AMD EPYC"), ("raspberrypi4", "riscv64", "Cortex-A72"),
    ],
)  # fmt: skip
def test_the_device_itself_is_no_doubt(device: str, machine: str, cpu: str) -> None:
    assert check(device, machine, cpu) == ""


def test_another_chip_of_the_architecture_is_doubtful() -> None:
    doubt = check("raspberrypi4", "aarch64", "Cortex-A76")
    assert "BCM2711, 4x Cortex-A72" in doubt
    assert "Cortex-A76 (aarch64)" in doubt


def test_a_newcomer_is_itself_and_nobody_else() -> None:
    told = chip_facts()
    data = profile_of("mychip", told, {"runtimes": {"onnxruntime": {"version": "1", "precisions": ["fp32"]}}})
    chip = parse_profile(data, data_root("hw_profiles"), "a test").chip
    assert check_identity("mychip", chip, told) == check_identity("host", detect_host().chip, told) == ""
    assert "another device" in check_identity("mychip", chip, facts(told["machine"], "another"))
