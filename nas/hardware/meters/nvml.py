"""NVIDIA's GPUs by NVML: a counter in millijoules since Volta (nvidia-ml-py, which is not part of any install of this package).

This file also runs on the device, without the rest of the package: Python 3.9 and the standard library (see `transports.bundle`).
"""

from __future__ import annotations

import importlib
from typing import Any

from nas.errors import MeterError
from nas.hardware.meters.base import Clock, CounterMeter

__all__ = ["Nvml"]


class Nvml(CounterMeter):
    """One GPU. Not used without being asked for: it does not see what runs on the processor.

    Args:
        argument: index of the GPU, 0 by default.
        library: `pynvml`; imported when first needed.
    """

    name = "nvml"
    scope = "GPU"
    resolution_s = 0.1  # how often the counter moves, at worst
    is_automatic = False

    def __init__(self, argument: str = "", library: Any = None, clock: Clock | None = None) -> None:
        super().__init__(clock)
        if argument and not argument.isdigit():
            raise MeterError(f"nvml takes the index of a GPU, e.g. nvml:0, got {argument!r}")
        self._index = int(argument or 0)
        self._library = library
        self._handle: Any = None

    def self_test(self) -> None:
        """As every counter; the limit of the GPU's power becomes known."""
        self._open()
        super().self_test()

    def read_j(self) -> float:
        """The driver's counter."""
        library = self._open()
        try:
            return float(library.nvmlDeviceGetTotalEnergyConsumption(self._handle)) * 1e-3
        except library.NVMLError as exc:
            raise MeterError(f"nvml: GPU {self._index} does not tell its energy (older than Volta?): {exc}") from exc

    def close(self) -> None:
        """Ends the library."""
        if self._handle is not None:
            self._handle = None
            self._library.nvmlShutdown()

    def _open(self) -> Any:
        if self._handle is None:
            if self._library is None:
                try:
                    self._library = importlib.import_module("pynvml")
                except ImportError as exc:
                    raise MeterError("nvml needs nvidia-ml-py: python3 -m pip install nvidia-ml-py") from exc
            try:
                self._library.nvmlInit()
                self._handle = self._library.nvmlDeviceGetHandleByIndex(self._index)
                # Peaks of microseconds pass the limit; no window does.
                self.most_w = 2e-3 * self._library.nvmlDeviceGetEnforcedPowerLimit(self._handle)
            except self._library.NVMLError as exc:
                raise MeterError(f"nvml: there is no NVIDIA GPU {self._index} with a driver here: {exc}") from exc
        return self._library
