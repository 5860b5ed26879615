"""Whether a device is the one that a profile describes: latencies of another machine must not become its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nas.errors import InputError
from nas.hardware.chip import is_arm
from nas.hardware.facts import Chip, Fact

__all__ = ["check_identity"]

_ARM_SIMD, _X86_SIMD = re.compile(r"\bNEON\b|\bSVE"), re.compile(r"\b(AVX|SSE|AMX)")
_X86 = ("x86_64", "amd64", "i386", "i686")


def check_identity(name: str, chip: Chip, facts: Mapping[str, Any]) -> str:
    """What makes it doubtful that the device is the profile's; empty where nothing does.

    Args:
        name: of the profile.
        facts: from `nas.hardware.chip.chip_facts` on the device.

    Raises:
        InputError: it is of another architecture.
    """
    machine, told = str(facts["machine"]), facts["chip"]["cpu"]
    described = f"{name} is {chip.cpu.value} by its profile, and what answers is {told['value']} ({machine})"
    arm, x86 = is_arm(machine), machine.lower() in _X86
    simd = str(chip.simd.value)
    if (x86 and _ARM_SIMD.search(simd)) or (arm and _X86_SIMD.search(simd)):
        raise InputError(f"{described}: another architecture. Check --via, or give this device a name of its own: --device mychip")
    if _fits(chip.cpu, str(told["value"]), str(told["source"])):
        return ""
    return f"{described}: if that is another device, stop and give it a name of its own"


def _fits(known: Fact, value: str, source: str) -> bool:
    """The same name; or where people wrote the profile, a word in common that tells chips apart, if they wrote one."""
    if known.source == source:
        return known.value == value
    words = _chips(str(known.value))
    return not words or bool(words & _chips(value))


def _chips(text: str) -> set[str]:
    """Words of letters and digits that name a chip or core, e.g. {"bcm2711", "a72"}; no counts ("4x") and clocks."""
    words = re.findall(r"[a-z0-9]{3,}", text.lower())
    return {word for word in words if re.search(r"[a-z]", word) and re.search(r"[0-9]", word) and not word.endswith("hz")}
