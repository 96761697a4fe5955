import json
import time
from pathlib import Path

import pytest

from pipelines.models import costs
from pipelines.models.costs import CostMeter, combined


def test_it_measures_what_happens_between_start_and_end():
    with CostMeter() as meter:
        busy, wall = time.process_time() + 0.05, time.perf_counter() + 0.05
        while time.process_time() < busy or time.perf_counter() < wall:
            pass
    spent = meter.total()
    assert spent["cost_cpu_seconds"] >= 0.05
    assert spent["cost_wall_seconds"] >= 0.05
    assert spent["cost_peak_memory_mb"] > 5


def test_sums_add_up_and_peaks_do_not():
    first = {"cost_wall_seconds": 1.0, "cost_peak_memory_mb": 9.0}
    second = {"cost_wall_seconds": 2.0, "cost_peak_memory_mb": 4.0, "cost_gpu_seconds": 3.0}
    assert combined(first, second) == {"cost_wall_seconds": 3.0, "cost_peak_memory_mb": 9.0, "cost_gpu_seconds": 3.0}


def test_a_killed_run_leaves_what_it_spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(costs, "SECONDS_BETWEEN_WRITES", 0.01)
    with CostMeter(tmp_path):
        while not (tmp_path / costs.FILE).exists():  # written while the run goes on
            time.sleep(0.01)
    (tmp_path / costs.FILE).write_text(json.dumps({"cost_wall_seconds": 1_000.0}))
    with CostMeter(tmp_path) as meter:
        pass
    assert 1_000 < meter.total()["cost_wall_seconds"] < 1_100


def test_energy_is_read_from_the_packages_counters_across_their_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(costs, "POWERCAP", tmp_path)
    for zone, energy in (("intel-rapl:0", 7_000_000), ("intel-rapl:1", 1_000_000), ("intel-rapl:0:0", 5)):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "energy_uj").write_text(str(energy))
        (tmp_path / zone / "max_energy_range_uj").write_text("8000000")
    with CostMeter() as meter:
        (tmp_path / "intel-rapl:0" / "energy_uj").write_text("2000000")  # beyond its limit
        (tmp_path / "intel-rapl:1" / "energy_uj").write_text("1500000")
    assert meter.total()["cost_energy_joules"] == pytest.approx(3.5)


def test_without_counters_nothing_is_said_of_energy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(costs, "POWERCAP", tmp_path / "none")
    with CostMeter() as meter:
        pass
    assert "cost_energy_joules" not in meter.total()
