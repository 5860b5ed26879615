"""Ways to a device. A transport copies files there and speaks lines of JSON with the runner; what the lines say is `nas.hardware.jobs`'."""

from __future__ import annotations

from nas.hardware.transports.base import Transport

__all__ = ["Transport"]
