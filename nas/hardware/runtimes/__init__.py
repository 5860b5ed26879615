"""Inference runtimes. A runtime says how to run a model once; who measures owns the clock."""

from __future__ import annotations

from nas.hardware.runtimes.base import Inspection, Runtime

__all__ = ["Inspection", "Runtime"]
