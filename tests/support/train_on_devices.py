"""Trains the same models on one and on two logical processors, and prints by how much their weights differ."""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.models import training
from pipelines.models.devices import num_replicas


def main() -> None:
    """Divide the processor in two, then train on one half and on both the models named as arguments, or all."""
    _divide()
    with tempfile.TemporaryDirectory() as folder:
        found = {name: part(Path(folder)) for name, part in PARTS.items() if name in (sys.argv[1:] or PARTS)}
        sys.stdout.write(json.dumps(found) + "\n")


def _divide() -> None:
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        half = tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [half, half])


def _two_tower(folder: Path) -> dict[str, float]:
    from keras.config import backend

    from pipelines.config import RetrievalConfig, TrainingConfig
    from pipelines.models.retrieval import RetrievalData, train_two_tower

    rng = np.random.default_rng(0)
    users = rng.integers(0, 40, 640).astype(np.int32)
    items = (rng.integers(0, 32, 640) * 4 + users % 4).astype(np.int32)
    every = {"item": np.arange(128, dtype=np.int32)}
    data = RetrievalData({"user": users}, {"item": items}, {"user": users[:51]}, items[:51].astype(np.int64), every)
    config = RetrievalConfig(
        embedding_dim=8, hidden_units=(8,), batch_size=64, epochs=2, learning_rate=0.02, num_periods=1, dropout=0.0,
        user_dropout=0.0, item_dropout=0.0, num_sampled_negatives=16,
    )  # fmt: skip
    ids: dict[str, Any] = {
        "query_shapes": {"user": ((), "int32")}, "item_shapes": {"item": ((), "int32")},
        "sizes": {"user": 40, "item": 128}, "seed": 4,
    }  # fmt: skip

    def trained(num_devices: int, checkpoints: Path | None = None, **changed: Any) -> Any:
        one = config.model_copy(update=changed)
        run = TrainingConfig(device="cpu", num_devices=num_devices)
        model, fit = train_two_tower(data, config=one, run=run, checkpoints=checkpoints, **ids)
        if fit.best_epoch != one.epochs:  # otherwise the weights would be the checkpoint's
            raise SystemExit(f"the best epoch is {fit.best_epoch}; expected the last of {one.epochs}")
        return model.get_weights()

    found = {"resumed": _one_and_resumed(trained, folder / "two_tower")}
    if backend() == "tensorflow":  # by JAX a batch is one array, whatever is compared in it
        hard = {"num_hard_negatives": 8, "epochs": 1}
        found["hard"] = _difference(trained(1, **hard), trained(2, **hard))
    return found


def _next_item(folder: Path) -> dict[str, float]:
    from pipelines.models.retrievers.base import RunOptions
    from pipelines.models.retrievers.sasrec import SASRec, SASRecSettings
    from tests.contracts.retriever import walks

    settings = SASRecSettings(
        dim=8, length=8, num_blocks=1, num_heads=1, batch_size=4, epochs=2, patience=2, dropout=0.0, warmup_steps=0,
        loss="sampled_softmax", num_negatives=7, steps_per_execution=8, xla=False,
    )  # fmt: skip

    def trained(num_devices: int, checkpoints: Path | None = None) -> Any:
        model = SASRec(settings)
        model.fit(walks(), options=RunOptions(5, device="cpu", num_devices=num_devices, checkpoints=checkpoints))
        return model.model.get_weights()

    return {"resumed": _one_and_resumed(trained, folder / "next_item")}


def _ranker(folder: Path) -> dict[str, float]:
    from pipelines.config import RankingConfig, TrainingConfig
    from tests.support.pairs import made_pairs, outputs

    pairs = made_pairs(640, 100)
    config = RankingConfig(
        embedding_dim=4, hidden_units=(8,), batch_size=80, epochs=2, learning_rate=0.001, num_oov_buckets=2,
        dropout=0.0, item_dropout=0.0, loss="softmax",
    )  # fmt: skip

    def trained(num_devices: int, checkpoints: Path | None = None) -> Any:
        run = TrainingConfig(device="cpu", num_devices=num_devices)
        ranker = pairs.ranker(config, checkpoints=checkpoints, run=run)
        if ranker.fit.best_epoch != config.epochs:
            raise SystemExit(f"the best epoch is {ranker.fit.best_epoch}; expected the last of {config.epochs}")
        if not ranker.use_for_ordering:  # otherwise what is compared would be without the network
            raise SystemExit("the network has no say in the outputs; expected one")
        return list(outputs(ranker, pairs.validation).values())  # a list loss leaves the logit's bias to rounding

    return {"resumed": _one_and_resumed(trained, folder / "ranker")}


def _one_and_resumed(trained: Callable[..., Any], folder: Path) -> float:
    """Train on one device, and on two from the checkpoint of the first epoch; return how far they end apart."""
    write = training.write_checkpoint

    def write_and_keep_the_first(kept: Path, *what: Any) -> None:
        write(kept, *what)
        if not folder.exists():
            shutil.copytree(kept, folder)

    training.write_checkpoint = write_and_keep_the_first
    one = trained(1, folder.with_suffix(".one"))
    training.write_checkpoint = write
    return _difference(one, _on_two(trained, folder))


def _on_two(trained: Callable[..., Any], folder: Path) -> Any:
    """Train on two devices, and make sure of it."""
    make, found = training.step_loop, []

    def make_and_count(*what: Any) -> Any:
        found.append(num_replicas())
        return make(*what)

    training.step_loop = make_and_count
    weights = trained(2, folder)
    training.step_loop = make
    if found != [2]:
        raise SystemExit(f"trained on {found} devices; expected [2]")
    return weights


def _difference(one: list[Any], other: list[Any]) -> float:
    """Return the greatest difference of two models' weights or outputs."""
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


PARTS = {"two_tower": _two_tower, "next_item": _next_item, "ranker": _ranker}


if __name__ == "__main__":
    main()
