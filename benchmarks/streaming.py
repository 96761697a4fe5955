"""What does training need of memory, and how fast is it, with labels in memory and with labels on disk?

    python benchmarks/streaming.py [--rows 1000000 10000000] [--steps 1000] [--folder FOLDER] [--modes ...]

Makes up training sets of so many labels in the columns of a real one (200,000 users with histories of 20 items, 50,000
items with titles and categories; row groups of 250,000), and trains the two-tower model on each by
`pipelines.steps.train_retrieval.train_into`, in a process of its own: with all encoded labels in memory (`resident`,
a `training.resident_mb` above their size), and with them in a file (`streamed`, 0). Training ends after so many steps
of the first epoch: what it needs and how fast it is do not change after them.

Printed of each: the most anonymous memory the process had (what cannot be given back but to swap, looked at every 20
ms), and the most before training began; processor seconds of all; examples a second of wall time and of processor time
in training (other work on the machine disturbs the former); and whether both modes gave equal weights.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

NUM_USERS, NUM_ITEMS, HISTORY, GROUP_ROWS, VALIDATION_ROWS = 200_000, 50_000, 20, 250_000, 20_000
MODES = {"resident": 1_000_000, "streamed": 0}  # of training.resident_mb
GENRES = np.array(["drama", "comedy", "horror", "western", "noir", "war", "romance", "thriller"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", type=int, default=[1_000_000, 10_000_000], help="labels to train on")
    parser.add_argument("--steps", type=int, default=1_000, help="batches to train on")
    parser.add_argument("--folder", type=Path, help="where training sets are made and kept; a temporary one without it")
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=list(MODES))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(train(arguments.folder, MODES[arguments.one], arguments.steps)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        for num_rows in arguments.rows:
            folder = (arguments.folder or Path(scratch)) / str(num_rows)
            make(folder, num_rows)
            found = {mode: in_a_process(folder, mode, arguments.steps) for mode in arguments.modes}
            for mode, figures in found.items():
                print(f"{num_rows:,} labels, {mode}: {figures}")
            if len(found) > 1:
                print(f"equal weights: {len({figures['weights'] for figures in found.values()}) == 1}")


def make(folder: Path, num_rows: int) -> None:
    """Write `train.parquet` and `validation.parquet`, unless they are there."""
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", num_rows), ("validation", VALIDATION_ROWS)):
        if (folder / f"{split}.parquet").exists():
            continue
        scratch = folder / "part"
        writer = None
        for start in range(0, count, GROUP_ROWS):
            rows = labels(min(GROUP_ROWS, count - start), seed=start + len(split))
            writer = writer or pq.ParquetWriter(scratch, rows.schema, compression="zstd")
            writer.write_table(rows)
        if writer:
            writer.close()
        scratch.rename(folder / f"{split}.parquet")


def labels(num_rows: int, *, seed: int) -> Any:
    """Return made-up labels: users like the items of their own eighth, some items far more often than others."""
    import pyarrow as pa

    rng = np.random.default_rng(seed)
    names = np.array([f"i{i}" for i in range(NUM_ITEMS)], dtype=object)
    titles = np.array([f"The {GENRES[i % 8]} of {i % 977} and {i % 89}" for i in range(NUM_ITEMS)], dtype=object)
    user = rng.integers(NUM_USERS, size=num_rows)
    item = drawn(rng, num_rows, user)
    history = names[drawn(rng, (num_rows, HISTORY), user[:, None])]
    counts = rng.integers(1, 1_000, (8, num_rows))
    floats = rng.random((2, num_rows)).astype(np.float32)

    def lists(values: Any, width: int) -> Any:
        return pa.ListArray.from_arrays(np.arange(num_rows + 1, dtype=np.int32) * width, pa.array(values))

    return pa.table(
        {
            "user_id": np.char.add("u", user.astype(str)),
            "item_id": pa.array(names[item]),
            "value": floats[0],
            "event_timestamp": pa.array(np.arange(num_rows) * 1_000_000).cast(pa.timestamp("us", tz="UTC")),
            "device": pa.array(np.array(["mobile", "tv"], dtype=object)[user % 2]),
            "user_num_events": counts[0], "user_num_events_7d": counts[1], "user_num_events_30d": counts[2],
            "user_mean_value": floats[0], "days_since_last_event": floats[1],
            "recent_items": lists(history.ravel(), HISTORY),
            "taste_categories": lists(GENRES[np.stack([user % 8, (user + 1) % 8], axis=1)].ravel().astype(object), 2),
            "taste_weights": lists(np.tile(np.float32([0.7, 0.3]), num_rows), 2),
            "attributes": lists(np.char.add("segment=", (user % 9).astype(str)), 1),
            "title": pa.array(titles[item]),
            "text": pa.nulls(num_rows, pa.string()),
            "categories": lists(GENRES[item % 8].astype(object), 1),
            "item_num_events_1d": counts[4], "item_num_events_7d": counts[5], "item_num_events_30d": counts[6],
            "item_num_events": counts[7],
            "hour": np.arange(num_rows) % 24, "weekday": np.arange(num_rows) // 24 % 7,
        }
    )  # fmt: skip


def drawn(rng: np.random.Generator, shape: Any, user: Any) -> Any:
    """Return items of the users' eighth, the first ones most often."""
    place = (rng.random(shape) ** 3 * (NUM_ITEMS // 8)).astype(np.int64)
    return place * 8 + user % 8


def in_a_process(folder: Path, mode: str, steps: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", mode, "--folder", str(folder), "--steps", str(steps)]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def train(folder: Path, resident_mb: int, num_steps: int) -> dict[str, Any]:
    """Train in this process; returns figures."""
    from pipelines.config import RetrievalConfig, TrainingConfig
    from pipelines.contracts import FeatureSet, Snapshot, TrainingSet
    from pipelines.models import retrieval
    from pipelines.models.retrievers.base import RunOptions
    from pipelines.steps.train_retrieval import train_into

    moment = datetime(2026, 1, 1, tzinfo=UTC)
    snapshot = Snapshot(dataset="made", snapshot_id="made", as_of=moment, versions={})
    training_set = TrainingSet(
        features=FeatureSet(snapshot=snapshot, versions={}, num_rows={}), uri=str(folder), fingerprint="made",
        feature_service="ranking_v1", validation_start=moment, test_start=moment, num_rows={},
    )  # fmt: skip
    seen: dict[str, Any] = {}
    fit = retrieval.fit_epochs

    def fit_and_look(model: Any, batches: Any, **kwargs: Any) -> Any:
        def first(epoch: int, start: int) -> tuple[int, Any]:
            count, steps = batches(epoch, start)
            return min(count, num_steps), steps

        seen["before"], start = meter.most, (time.perf_counter(), time.process_time())
        done = fit(model, first, **kwargs)
        seen["seconds"], seen["processor"] = time.perf_counter() - start[0], time.process_time() - start[1]
        weights = hashlib.sha256(b"".join(np.ascontiguousarray(w).tobytes() for w in model.get_weights()))
        seen["weights"] = weights.hexdigest()[:8]
        return done

    config = RetrievalConfig(epochs=1, max_examples=10**9)
    meter = Meter()
    with tempfile.TemporaryDirectory(dir=folder) as out, meter:
        retrieval.fit_epochs = fit_and_look
        train_into(Path(out), training_set, config, RunOptions(0), run=TrainingConfig(resident_mb=resident_mb),
                   served=False)  # fmt: skip
        num_rows = json.loads((Path(out) / "run.json").read_text())["metrics"]["num_rows"]
    num_examples = min(num_rows // config.batch_size, num_steps) * config.batch_size
    return {
        "peak_mb": round(meter.most),
        "peak_before_training_mb": round(seen["before"]),
        "processor_seconds": round(time.process_time()),
        "examples_a_second": round(num_examples / seen["seconds"]),
        "examples_a_processor_second": round(num_examples / seen["processor"]),
        "weights": seen["weights"],
    }


class Meter:
    """Knows the most anonymous memory this process has had while it is open, MB."""

    def __init__(self) -> None:
        self.most = 0.0
        self._over = threading.Event()

    def __enter__(self) -> "Meter":
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.02):
            status = Path("/proc/self/status").read_text()
            self.most = max(self.most, int(status.split("RssAnon:")[1].split()[0]) / 1024)


if __name__ == "__main__":
    main()
