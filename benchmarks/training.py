"""How fast does the two-tower model train, beside the libraries a person would take otherwise?

    python benchmarks/training.py [--data FOLDER] [--rows 200000] [--epochs 3] [--batches 1024 4096] [--engines ...]

Each engine trains 64-dimensional user and item vectors on the same interactions, in a process of its own, one after
the other: ours (`train_two_tower` with ids alone; `tandem-jax` is the same by Keras' other backend), plain TensorFlow
Recommenders (Retrieval task, Adagrad 0.1, as in its tutorial; in an environment of its own with its versions pinned,
made below `--cache` on first use), plain Keras with keras-rs (one-hot labels, as in its example), and `implicit`'s
weighted ALS. Towers are an embedding and two dense layers of 64. The data is MovieLens-1M (`FOLDER/ml-1m`) or made up,
6,040 users and 3,706 items; the last item of 2,000 users is held out and looked for among all items that the user did
not train on.

Printed: examples a second of wall time and of processor time after the first epoch (which builds the graph), recall@50
after each epoch, and seconds until the recall that TensorFlow Recommenders ends with. Beside them the floor of a
softmax over all rows of a batch: the operations of an example over the rate of large float32 matrix products, measured
here; ours compares with the batch's distinct items and can be above it. Other work on the machine disturbs wall time
most; compare engines of one run.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

DIM, NUM_HELD_OUT, TOP, SEED = 64, 2_000, 50, 0
TFRS, JAX = "tensorflow-recommenders", "tandem-jax"
PINNED = ROOT / "benchmarks" / "tfrs-requirements.txt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder that holds ml-1m; made-up interactions without it")
    parser.add_argument("--rows", type=int, default=200_000, help="interactions to train on, the newest")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batches", nargs="+", type=int, default=[1_024, 4_096])
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--cache", type=Path, default=ROOT / ".tandem" / "cache", help="where the environment is made")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(ENGINES[arguments.one](np.load(arguments.data), arguments.batches[0], arguments.epochs)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "interactions.npz"
        np.savez(file, **interactions(arguments.data, arguments.rows))
        rate = matrix_rate()
        print(f"{os.cpu_count()} cores; float32 matrix products: {rate / 1e9:.0f} GFLOP/s")
        for batch in arguments.batches:
            compare(batch, arguments, file, rate)


def compare(batch: int, arguments: argparse.Namespace, file: Path, rate: float) -> None:
    """Print the table of one batch size."""
    engines = [name for name in arguments.engines if name != "als" or batch == arguments.batches[0]]
    found = {name: run(name, batch, arguments, file) for name in engines}
    print(f"\nbatch {batch:,}; floor {rate / operations(batch):,.0f} examples/s")
    print(
        f"{'engine':>24} {'/wall s':>9} {'/cpu s':>9} {'x TFRS wall':>12} {'cpu':>6} {'to quality':>11}  recall@{TOP}"
    )
    base = found.get(TFRS)
    for name, got in found.items():
        ratios = (
            f"{got['wall'] / base['wall']:>12.2f} {got['cpu'] / base['cpu']:>6.2f}" if base else f"{'-':>12} {'-':>6}"
        )
        reached = [s for s, r in zip(got["seconds"], got["recall"], strict=True) if base and r >= base["recall"][-1]]
        quality = f"{reached[0]:>9.1f} s" if reached else f"{'-':>11}"
        curve = " ".join(f"{value:.4f}" for value in got["recall"])
        print(f"{name:>24} {got['wall']:>9,.0f} {got['cpu']:>9,.0f} {ratios} {quality}  {curve}")


def run(engine: str, batch: int, arguments: argparse.Namespace, file: Path) -> dict[str, Any]:
    """Return what an engine measured of itself in a process of its own."""
    python = tfrs_python(arguments.cache) if engine == TFRS else sys.executable
    command = [python, __file__, "--one", engine, "--data", file, "--batches", batch, "--epochs", arguments.epochs]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "OPENBLAS_NUM_THREADS": "1"}
    if engine == TFRS:
        environment |= {"TF_USE_LEGACY_KERAS": "1", "PYTHONPATH": ""}
    if engine == JAX:
        environment |= {"KERAS_BACKEND": "jax"}
    ran = subprocess.run(
        [str(part) for part in command], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    answer: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return answer


def tfrs_python(cache: Path) -> Path:
    """Return the interpreter of TensorFlow Recommenders' environment, made on first use."""
    folder = cache / "benchmark-tfrs"
    done = folder / "done"
    if not done.exists():
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python", "-r", PINNED]
        subprocess.run(install, check=True)
        done.touch()
    return folder / "bin" / "python"


def interactions(data: Path | None, rows: int) -> dict[str, Any]:
    """Return users and items in order of time, and the held-out last item of some users."""
    if data:
        columns = np.loadtxt(data / "ml-1m" / "ratings.dat", delimiter=":", usecols=(0, 2, 6), dtype=np.int64)
        columns = columns[np.argsort(columns[:, 2], kind="stable")]
        users, items = (np.unique(column, return_inverse=True)[1] for column in columns.T[:2])
    else:
        users, items = made_up()
    users, items = users[-rows:], items[-rows:]
    last = len(users) - 1 - np.unique(users[::-1], return_index=True)[1]
    held_out = np.sort(np.random.default_rng(SEED).permutation(last)[:NUM_HELD_OUT])
    kept = np.ones(len(users), dtype=bool)
    kept[held_out] = False
    sizes = {"num_users": users.max() + 1, "num_items": items.max() + 1}
    asked = {"asked": users[held_out], "wanted": items[held_out]}
    return {"users": users[kept].astype(np.int32), "items": items[kept].astype(np.int32), **asked, **sizes}


def made_up(num_users: int = 6_040, num_items: int = 3_706, num_rows: int = 1_000_000) -> tuple[Any, Any]:
    """Return users and items of twenty tastes; within its taste an item is popular by its rank."""
    rng = np.random.default_rng(SEED)
    users = rng.integers(0, num_users, num_rows)
    taste = np.where(rng.random(num_rows) < 0.8, users % 20, rng.integers(0, 20, num_rows))
    items = (rng.random(num_rows) ** 2.5 * (num_items // 20)).astype(np.int64) * 20 + taste
    return users, items


def matrix_rate() -> float:
    """Return operations a second of large float32 matrix products, the best of several."""
    matrix = np.ones((2_048, 2_048), np.float32)
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        _ = matrix @ matrix
        seconds.append(time.perf_counter() - start)
    return 2 * 2_048**3 / min(seconds)


def operations(batch: int) -> int:
    """Return multiplications and additions an example, forward and backward: two towers, and the batch's logits."""
    return 3 * 2 * (2 * 2 * DIM * DIM + batch * DIM)


class Clock:
    """Seconds of training alone: `lap` ends an epoch, and what happens until `go` is not counted."""

    def __init__(self, data: Any) -> None:
        self.data = data
        self.laps: list[tuple[float, float]] = []
        self.recall: list[float] = []
        self.go()

    def go(self) -> None:
        """Start the next epoch."""
        self._start = (time.perf_counter(), _processor())

    def lap(self, vectors: Callable[[], tuple[Any, Any]]) -> float:
        """End an epoch and measure its vectors, `[num_users, dim]` and `[num_items, dim]`; returns recall."""
        self.laps.append((time.perf_counter() - self._start[0], _processor() - self._start[1]))
        self.recall.append(recall(self.data, *vectors()))
        self.go()
        return self.recall[-1]

    def answer(self, examples: int) -> dict[str, Any]:
        """Return examples a second after the first epoch, seconds at the end of each, and its recall."""
        wall, cpu = np.array(self.laps[1:] or self.laps).mean(axis=0)
        seconds = np.cumsum([lap[0] for lap in self.laps]).tolist()
        return {"wall": examples / wall, "cpu": examples / cpu, "seconds": seconds, "recall": self.recall}


def recall(data: Any, users: Any, items: Any) -> float:
    """Return the share of held-out items among the `TOP` best that their user did not train on."""
    asked = data["asked"]
    scores = users[asked] @ items.T
    row_of = np.full(data["num_users"], -1)
    row_of[asked] = np.arange(len(asked))
    rows = row_of[data["users"]]
    wanted = scores[np.arange(len(asked)), data["wanted"]]
    scores[rows[rows >= 0], data["items"][rows >= 0]] = -np.inf
    return float(((scores >= wanted[:, None]).sum(axis=1) <= TOP).mean())


def tandem(data: Any, batch: int, epochs: int) -> dict[str, Any]:
    import pipelines.models.two_tower  # noqa: F401 - loads the backend before time is taken, as for the others
    from pipelines.config import RetrievalConfig
    from pipelines.models import retrieval
    from pipelines.models.training import predict

    users, items = data["users"], data["items"]
    nobody, every = {"user": users[:1]}, {"item": np.arange(data["num_items"], dtype=np.int32)}
    labels = retrieval.RetrievalData({"user": users}, {"item": items}, nobody, np.zeros(1, np.int64), every)

    def measured(model: Any, _: Any) -> dict[str, float]:
        people = {"user": np.arange(data["num_users"], dtype=np.int32)}
        vectors = lambda: (predict(model.query_tower, people), predict(model.item_tower, every))  # noqa: E731 - for timing
        return {retrieval.WATCH: clock.lap(vectors)}

    retrieval.validation_metrics = measured
    config = RetrievalConfig(
        embedding_dim=DIM, hidden_units=(DIM,), batch_size=batch, epochs=epochs, patience=epochs, dropout=0.0,
        user_dropout=0.0, item_dropout=0.0, learning_rate=0.005 * (batch / 1_024) ** 0.5,
    )  # fmt: skip
    sizes = {"user": int(data["num_users"]), "item": int(data["num_items"])}
    shapes = {"query_shapes": {"user": ((), "int32")}, "item_shapes": {"item": ((), "int32")}}
    clock = Clock(data)
    retrieval.train_two_tower(labels, **shapes, sizes=sizes, config=config, seed=SEED)
    return clock.answer(len(users) // batch * batch)


def tensorflow_recommenders(data: Any, batch: int, epochs: int) -> dict[str, Any]:
    import tensorflow as tf
    import tensorflow_recommenders as tfrs

    tf.keras.utils.set_random_seed(SEED)

    class Model(tfrs.Model):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.item = (tower(tf.keras, int(data[name])) for name in ("num_users", "num_items"))
            self.task = tfrs.tasks.Retrieval()

        def compute_loss(self, features: Any, training: bool = False) -> Any:
            return self.task(self.query(features["user"]), self.item(features["item"]), compute_metrics=False)

    model = Model()
    model.compile(optimizer=tf.keras.optimizers.Adagrad(0.1))
    return fit(model, data, batch, epochs)


def keras_rs(data: Any, batch: int, epochs: int) -> dict[str, Any]:
    import keras
    import keras_rs

    keras.utils.set_random_seed(SEED)

    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.item = (tower(keras, int(data[name])) for name in ("num_users", "num_items"))
            self.retrieval = keras_rs.layers.BruteForceRetrieval(k=10, return_scores=False)
            self.loss_fn = keras.losses.CategoricalCrossentropy(from_logits=True, reduction="sum")

        def call(self, features: Any) -> Any:
            return {"queries": self.query(features["user"]), "items": self.item(features["item"])}

        def compute_loss(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None, training: bool = True) -> Any:
            logits = keras.ops.matmul(y_pred["queries"], keras.ops.transpose(y_pred["items"]))
            return self.loss_fn(keras.ops.eye(keras.ops.shape(logits)[0]), logits)

    model = Model()
    model.compile(optimizer=keras.optimizers.Adagrad(0.1))
    return fit(model, data, batch, epochs)


def tower(keras: Any, size: int) -> Any:
    layers = keras.layers
    return keras.Sequential([layers.Embedding(size, DIM), layers.Dense(DIM, activation="relu"), layers.Dense(DIM)])


def fit(model: Any, data: Any, batch: int, epochs: int) -> dict[str, Any]:
    """Train as Keras does by itself, on arrays in memory."""
    whole = len(data["users"]) // batch * batch
    features = {"user": data["users"][:whole], "item": data["items"][:whole]}
    people, every = (np.arange(data[name], dtype=np.int32) for name in ("num_users", "num_items"))
    clock = Clock(data)
    for _ in range(epochs):
        model.fit(features, batch_size=batch, epochs=1, shuffle=True, verbose=0)
        clock.lap(lambda: (np.asarray(model.query(people)), np.asarray(model.item(every))))
    return clock.answer(whole)


def als(data: Any, batch: int, epochs: int) -> dict[str, Any]:
    import implicit
    import scipy.sparse as sp

    shape = (int(data["num_users"]), int(data["num_items"]))
    values = np.ones(len(data["users"]), np.float32)
    matrix = sp.csr_matrix((values, (data["users"], data["items"])), shape=shape)
    model = implicit.als.AlternatingLeastSquares(
        factors=DIM, iterations=3 * epochs, alpha=4.0, regularization=10.0, random_state=SEED
    )
    clock = Clock(data)

    def lap(iteration: int, *_: Any) -> None:
        if iteration % 3 == 2:  # an iteration costs less than an epoch of the others
            clock.lap(lambda: (model.user_factors, model.item_factors))

    model.fit(matrix, show_progress=False, callback=lap)
    return clock.answer(3 * len(values))


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


ENGINES: dict[str, Callable[[Any, int, int], dict[str, Any]]] = {
    "tandem": tandem,
    JAX: tandem,
    TFRS: tensorflow_recommenders,
    "keras-rs": keras_rs,
    "als": als,
}

if __name__ == "__main__":
    main()
