"""What counts joules: each meter a small class behind one contract, found by name."""

from __future__ import annotations

from nas.hardware.meters.base import EnergyMeter, EnergyWindow

__all__ = ["EnergyMeter", "EnergyWindow"]
