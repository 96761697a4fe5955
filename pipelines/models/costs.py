"""What a training run costs: seconds, memory and, where the machine lets them be read, a GPU's share and energy."""

import json
import os
import resource
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

FILE = "cost.json"
POWERCAP = Path("/sys/class/powercap")
SECONDS_BETWEEN_WRITES = 1.0
MEGABYTE = 1_000_000


class CostMeter:
    """Measures a run between `with` and its end, together with what earlier, killed runs of the same folder spent.

    - `cost_wall_seconds`, and `cost_cpu_seconds` of this process and its children.
    - `cost_peak_memory_mb`: the most this process ever held, which includes what it did before the run.
    - `cost_gpu_seconds`: seconds times the GPUs that the backend holds, whether busy or not; and
      `cost_gpu_peak_memory_mb` of the fullest. Left out where the backend sees none.
    - `cost_energy_joules`: of the processor's packages, everything else that ran on them included, by their own
      counters (RAPL). Left out where those cannot be read; nothing is estimated.

    Args:
        folder: of the run's checkpoints: what was spent is written there every second, for the run that goes on after a
            kill; None keeps nothing.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = None if folder is None else folder / FILE
        self._earlier: dict[str, float] = {}
        self._end = threading.Event()
        self._writer = threading.Thread(target=self._write_on, daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._earlier = json.loads(self._file.read_text()) if self._file.exists() else {}
        self._start = {"wall": time.monotonic(), "cpu": _cpu_seconds()}
        self._energy = _Energy()
        self._writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop writing; after an error what was spent stays, for the next run."""
        self._end.set()
        self._writer.join()
        self._write()

    def total(self) -> dict[str, float]:
        """Return what was spent so far, metric -> value."""
        wall = time.monotonic() - self._start["wall"]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE
        spent = {
            "cost_wall_seconds": wall,
            "cost_cpu_seconds": _cpu_seconds() - self._start["cpu"],
            "cost_peak_memory_mb": peak,
        }
        memory = _gpu_peak_memory()
        if memory:
            spent |= {"cost_gpu_seconds": wall * len(memory), "cost_gpu_peak_memory_mb": max(memory) / MEGABYTE}
        joules = self._energy.joules()
        if joules is not None:
            spent["cost_energy_joules"] = joules
        return combined(self._earlier, spent)

    def _write_on(self) -> None:
        while not self._end.wait(SECONDS_BETWEEN_WRITES):
            self._write()

    def _write(self) -> None:
        self._energy.read()
        if self._file is not None:
            scratch = self._file.with_name(f"{FILE}.{os.getpid()}")
            scratch.write_text(json.dumps(self.total()))
            scratch.replace(self._file)


def combined(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
    """Return the cost of two runs: peaks are the higher one's, the rest adds up."""
    total = dict(first)
    for name, value in second.items():
        before = total.get(name, 0.0)
        total[name] = max(before, value) if "peak" in name else before + value
    return total


class _Energy:
    """Joules that the processor's packages used since this was made; each counter starts anew at its limit."""

    def __init__(self) -> None:
        self._counters = [zone for zone in sorted(POWERCAP.glob("intel-rapl:*")) if zone.name.count(":") == 1]
        self._used = 0
        self._last = self._read_all()

    def read(self) -> None:
        """Take account of the counters; to be called more often than they start anew, which takes minutes."""
        now = self._read_all()
        if now is not None and self._last is not None:
            self._used += sum(
                after - before if after >= before else after - before + limit
                for (before, limit), (after, _) in zip(self._last, now, strict=True)
            )
        self._last = now

    def joules(self) -> float | None:
        """Return the joules, None where no counter can be read."""
        return self._used / 1e6 if self._last else None

    def _read_all(self) -> list[tuple[int, int]] | None:
        try:
            return [
                (int((zone / "energy_uj").read_text()), int((zone / "max_energy_range_uj").read_text()))
                for zone in self._counters
            ]
        except OSError:  # since 2020 most kernels let root alone read them
            return None


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _gpu_peak_memory() -> list[int]:
    """Return the peak bytes of each GPU that the loaded backend holds; a backend is not loaded to find out."""
    if "keras" not in sys.modules:
        return []
    import keras  # waits for another thread that is importing it

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        names = [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices("GPU")]
        return [tf.config.experimental.get_memory_info(name)["peak"] for name in names]
    if keras.backend.backend() == "jax":
        jax: Any = sys.modules["jax"]
        devices = [device for device in jax.local_devices() if device.platform == "gpu"]
        return [(device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in devices]
    return []
