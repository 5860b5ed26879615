"""The runner as one file: the modules that measure, packed so that `python3 runner.pyz` runs them without an installation.

They are the package's own files, so that a device measures with the same code as this machine. They keep to Python 3.9, the standard
library, numpy and the runtimes (a test reads their imports).
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from importlib.resources import files

__all__ = ["BUNDLED", "bundle", "tar"]

BUNDLED = (
    "nas/errors.py",
    "nas/hardware/chip.py",
    "nas/hardware/device_state.py",
    "nas/hardware/jobs.py",
    "nas/hardware/measure.py",
    "nas/hardware/measurement.py",
    "nas/hardware/measure_energy.py",
    "nas/hardware/meters/__init__.py",
    "nas/hardware/meters/base.py",
    "nas/hardware/meters/csv_log.py",
    "nas/hardware/meters/hwmon.py",
    "nas/hardware/meters/loading.py",
    "nas/hardware/meters/nvml.py",
    "nas/hardware/meters/pmic.py",
    "nas/hardware/meters/rapl.py",
    "nas/hardware/meters/replay.py",
    "nas/hardware/meters/sampled.py",
    "nas/hardware/meters/trace.py",
    "nas/hardware/runner.py",
    "nas/hardware/runtimes/__init__.py",
    "nas/hardware/runtimes/base.py",
    "nas/hardware/runtimes/loading.py",
    "nas/hardware/runtimes/onnxruntime.py",
    "nas/hardware/runtimes/openvino.py",
)
_MAIN = "import sys\nfrom nas.hardware.runner import main\nsys.exit(main())\n"
_LONG_AGO = (2020, 1, 1, 0, 0, 0)  # the same bytes whenever it is packed


def bundle() -> bytes:
    """A zip file that Python runs."""
    package = files("nas")
    contents = {name: package.joinpath(*name.split("/")[1:]).read_bytes() for name in BUNDLED}
    contents |= {"nas/__init__.py": b"", "nas/hardware/__init__.py": b"", "__main__.py": _MAIN.encode()}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(contents.items()):
            archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), data, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def tar(contents: Mapping[str, bytes]) -> bytes:
    """A tar archive of files by name."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o600
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()
