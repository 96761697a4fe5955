"""How many positions a second does a next-item model learn from?

    python benchmarks/sequential_training.py [--models sasrec hstu gru] [--dims 64 128] [--backends tensorflow jax]

Trains on made-up histories of MovieLens-1M's size (3,416 items, lengths around 165, rows of 200) with the full softmax,
each model on each backend in a process of its own. Prints positions a second of processor time, which other work on
the machine disturbs less, and of wall time; the operations a second that this means; and the share of padding.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

LENGTH, NUM_ITEMS, NUM_USERS = 200, 3_416, 1_500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["sasrec", "hstu", "gru"], choices=["sasrec", "hstu", "gru"])
    parser.add_argument("--dims", nargs="+", type=int, default=[64, 128])
    parser.add_argument("--backends", nargs="+", default=["tensorflow", "jax"])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(**json.loads(arguments.one))))
        return
    head = f"{'model':>8} {'dim':>4} {'backend':>11} {'positions/cpu s':>16} {'/wall s':>9}"
    print(f"{head} {'GFLOP/cpu s':>12} {'padding':>8}")
    for model in arguments.models:
        for dim in arguments.dims:
            for backend in arguments.backends:
                asked = json.dumps({"model": model, "dim": dim, "steps": arguments.steps})
                ran = subprocess.run(
                    [sys.executable, __file__, "--one", asked],
                    env=os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
                    stdout=subprocess.PIPE, text=True, check=True,
                )  # fmt: skip
                got = json.loads(ran.stdout.splitlines()[-1])
                print(
                    f"{model:>8} {dim:>4} {backend:>11} {got['per_cpu']:>16,.0f} {got['per_wall']:>9,.0f} "
                    f"{got['per_cpu'] * operations(dim) / 1e9:>12.1f} {got['padding']:>8.1%}"
                )


def measure(model: str, dim: int, steps: int) -> dict[str, Any]:
    """Return positions a second over `steps` steps, after two for compilation."""
    from pipelines.models.retrievers.catalogue import retriever_class
    from pipelines.models.training import prepare_keras

    prepare_keras(0)
    kind: Any = retriever_class(model)
    retriever = kind(kind.Settings(dim=dim, length=LENGTH, batch_size=32))
    network, batches = retriever.prepare(histories(), seed=0)
    _, epoch = batches.of(1)
    network.fit(((next(epoch),) for _ in range(2)), steps_per_epoch=2, verbose=0, shuffle=False)
    chunk = [next(epoch) for _ in range(steps)]
    positions = sum(int((arrays["windows"] > 0).sum()) for arrays in chunk)
    processor, wall = time.process_time(), time.perf_counter()
    network.fit(((arrays,) for arrays in chunk), steps_per_epoch=steps, verbose=0, shuffle=False)
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    cells = sum(arrays["windows"].size for arrays in chunk)
    return {"per_cpu": positions / processor, "per_wall": positions / wall, "padding": 1 - positions / cells}


def operations(dim: int) -> int:
    """Return the multiplications and additions of a position of a SASRec of two blocks, forward and backward."""
    block = 8 * dim**2 + 4 * dim**2 + 4 * LENGTH * dim
    return 3 * (2 * block + 2 * NUM_ITEMS * dim)


def histories() -> Any:
    from pipelines.models.sequences import Sequences

    rng = np.random.default_rng(0)
    lengths = rng.lognormal(4.6, 0.9, NUM_USERS).clip(5, 1_000).astype(np.int64)
    users = np.repeat(np.arange(NUM_USERS), lengths)
    items = (rng.random(len(users)) ** 3 * NUM_ITEMS).astype(np.int64)
    times = 1_000_000_000 + np.arange(len(users)) * 60
    return Sequences.of(users, items, num_users=NUM_USERS, num_items=NUM_ITEMS, times=times)


if __name__ == "__main__":
    main()
