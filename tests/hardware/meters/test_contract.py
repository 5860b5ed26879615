"""Every built-in meter keeps the contract, on recorded trees and outputs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from nas.bench.meter_cases import PMIC_BUSY, RAPL, SteppedClock, write_tree, write_vcgencmd
from nas.errors import MeterError
from nas.hardware.meters import EnergyMeter
from nas.hardware.meters.csv_log import CsvLog
from nas.hardware.meters.hwmon import Hwmon
from nas.hardware.meters.nvml import Nvml
from nas.hardware.meters.pmic import Pmic
from nas.hardware.meters.rapl import Rapl
from nas.hardware.meters.replay import Replay
from nas.testing import EnergyMeterContract


@pytest.fixture
def time() -> SteppedClock:
    return SteppedClock()


class Stepped(EnergyMeterContract):
    @pytest.fixture
    def pass_time(self, time: SteppedClock) -> Callable[[float], None]:
        return time.wait


class TestRapl(Stepped):
    @pytest.fixture
    def meter(self, tmp_path: Path, time: SteppedClock) -> EnergyMeter:
        write_tree(tmp_path, RAPL)
        path = tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj"
        time.on_wait = lambda seconds: path.write_text(f"{int(path.read_text()) + round(seconds * 15e6)}\n") and None
        return Rapl(root=tmp_path, clock=time)

    @pytest.fixture
    def broken(self, tmp_path: Path) -> EnergyMeter:
        return Rapl(root=tmp_path / "nothing")

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
    def test_a_file_for_root_only_names_the_command(self, meter: EnergyMeter, tmp_path: Path) -> None:
        path = tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj"
        path.chmod(0)
        with pytest.raises(MeterError, match=f"sudo chmod a.r {path}"):
            meter.self_test()

    def test_what_root_alone_may_read_names_the_command(self, meter: EnergyMeter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        with pytest.raises(MeterError, match=r"for root only: sudo chmod a.r .*intel-rapl:0/energy_uj"):
            meter.self_test()

    def test_a_counter_that_stands_still_does_not_work(self, meter: EnergyMeter, time: SteppedClock) -> None:
        time.on_wait = lambda seconds: None
        with pytest.raises(MeterError, match="stands still at 1 J"):
            meter.self_test()


class TestHwmon(EnergyMeterContract):
    @pytest.fixture
    def meter(self, tmp_path: Path) -> Iterator[EnergyMeter]:
        write_tree(tmp_path, {"sys/class/hwmon/hwmon1/name": "ina219", "sys/class/hwmon/hwmon1/power1_input": 2_500_000})
        made = Hwmon(root=tmp_path)
        yield made
        made.close()

    @pytest.fixture
    def broken(self, tmp_path: Path) -> EnergyMeter:
        return Hwmon(root=tmp_path / "nothing")

    def test_joules_are_watts_times_seconds(self, meter: EnergyMeter, pass_time: Callable[[float], None]) -> None:
        meter.begin()
        pass_time(0.5)
        window = meter.end()
        assert window.joules == pytest.approx(2.5 * window.seconds)
        assert window.readings >= 5

    def test_two_sensors_must_be_told_apart(self, tmp_path: Path, meter: EnergyMeter) -> None:
        write_tree(tmp_path, {"sys/class/hwmon/hwmon2/name": "ina226", "sys/class/hwmon/hwmon2/power1_input": 1_000_000})
        with pytest.raises(MeterError, match=r"name one of hwmon:hwmon1 \(ina219\), hwmon:hwmon2 \(ina226\)"):
            Hwmon(root=tmp_path).self_test()
        named = Hwmon("hwmon2", root=tmp_path)
        named.self_test()
        assert named.read_w() == 1.0
        with pytest.raises(MeterError, match=r"no current sensor .*hwmon7"):
            Hwmon("hwmon7", root=tmp_path).self_test()


class TestPmic(EnergyMeterContract):
    @pytest.fixture
    def meter(self, tmp_path: Path) -> Iterator[EnergyMeter]:
        made = Pmic(vcgencmd=str(write_vcgencmd(tmp_path, PMIC_BUSY)))
        yield made
        made.close()

    @pytest.fixture
    def broken(self, tmp_path: Path) -> EnergyMeter:
        return Pmic(vcgencmd=str(write_vcgencmd(tmp_path, "VCHI initialization failed: can't open /dev/vchiq", status=255)))

    def test_it_says_that_it_does_not_see_the_input(self, meter: EnergyMeter) -> None:
        assert "not the 5 V input" in meter.scope

    def test_no_permission_names_the_command(self, broken: EnergyMeter) -> None:
        with pytest.raises(MeterError, match="sudo usermod -aG video"):
            broken.self_test()

    def test_an_unknown_rail_lists_them(self, tmp_path: Path) -> None:
        with pytest.raises(MeterError, match="known are 3V7_WL_SW, 3V3_SYS, 1V8_SYS, DDR_VDD2, VDD_CORE"):
            Pmic("VDD", vcgencmd=str(write_vcgencmd(tmp_path, PMIC_BUSY))).self_test()


class TestNvml(Stepped):
    @pytest.fixture
    def meter(self, time: SteppedClock) -> EnergyMeter:
        library = SimpleNamespace(
            NVMLError=RuntimeError,
            nvmlInit=lambda: None,
            nvmlShutdown=lambda: None,
            nvmlDeviceGetHandleByIndex=lambda index: index,
            nvmlDeviceGetEnforcedPowerLimit=lambda handle: 300_000,
            nvmlDeviceGetTotalEnergyConsumption=lambda handle: round(time.now_s() * 120e3),
        )
        return Nvml("0", library, time)

    @pytest.fixture
    def broken(self) -> EnergyMeter:
        def absent() -> None:
            raise RuntimeError("NVML Shared Library Not Found")

        return Nvml("0", SimpleNamespace(NVMLError=RuntimeError, nvmlInit=absent))


class TestCsv(Stepped):
    @pytest.fixture
    def meter(self, tmp_path: Path, time: SteppedClock) -> EnergyMeter:
        """An instrument that draws a busy device's watts after every wait of the pattern's busy parts; all of it is drawn as a square."""
        path = tmp_path / "log.csv"
        path.write_text("time,watts\n0.0,5\n0.1,5\n")
        busy = iter([False, *(bool(part) for part in (1, 1, 1, 1, 1, 0, 0, 1, 1, 0, 1, 0, 1)), False])
        ticks = iter(range(2, 100_000))

        def log(seconds: float) -> None:
            watts = 5 if next(busy, True) else 2
            with path.open("a") as handle:
                handle.writelines(f"{next(ticks) / 10:.1f},{watts}\n" for _ in range(round(seconds * 10)))

        time.on_wait = log
        return CsvLog(str(path), time, patience_s=1.0)

    @pytest.fixture
    def broken(self) -> EnergyMeter:
        return CsvLog()


class TestReplay(Stepped):
    @pytest.fixture
    def meter(self, tmp_path: Path, time: SteppedClock) -> EnergyMeter:
        (tmp_path / "readings.json").write_text(json.dumps({"scope": "board", "watts": [3.0, 5.0]}))
        return Replay(str(tmp_path / "readings.json"), time)

    @pytest.fixture
    def broken(self) -> EnergyMeter:
        return Replay()
