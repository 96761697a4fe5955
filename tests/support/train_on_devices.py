"""Trains the same models on one and on two logical processors, and prints by how much their weights differ."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Divide the processor in two, then train on one half and on both."""
    _divide()
    with tempfile.TemporaryDirectory() as folder:
        found = {"two_tower": _two_tower(Path(folder)), "next_item": _next_item(Path(folder))}
        sys.stdout.write(json.dumps(found) + "\n")


def _divide() -> None:
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        half = tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [half, half])


def _two_tower(folder: Path) -> dict[str, float]:
    from pipelines.config import RetrievalConfig, TrainingConfig
    from pipelines.models.retrieval import RetrievalData, train_two_tower

    rng = np.random.default_rng(0)
    users = rng.integers(0, 40, 640).astype(np.int32)
    items = (rng.integers(0, 32, 640) * 4 + users % 4).astype(np.int32)
    every = {"item": np.arange(128, dtype=np.int32)}
    data = RetrievalData({"user": users}, {"item": items}, {"user": users[:51]}, items[:51].astype(np.int64), every)
    config = RetrievalConfig(
        embedding_dim=8, hidden_units=(8,), batch_size=64, epochs=2, learning_rate=0.02, num_periods=1, dropout=0.0,
        user_dropout=0.0, item_dropout=0.0,
    )  # fmt: skip
    ids: dict[str, Any] = {
        "query_shapes": {"user": ((), "int32")}, "item_shapes": {"item": ((), "int32")},
        "sizes": {"user": 40, "item": 128}, "seed": 3,
    }  # fmt: skip

    def trained(num_devices: int, checkpoints: Path | None = None, **changed: Any) -> Any:
        one = config.model_copy(update=changed)
        model, _ = train_two_tower(
            data, config=one, run=TrainingConfig(device="cpu", num_devices=num_devices), checkpoints=checkpoints, **ids
        )
        return model.get_weights()

    from tests.support.train_and_die import stopped_after

    kept = folder / "two_tower"
    with stopped_after(1):
        trained(1, kept)
    one, hard = trained(1), {"num_hard_negatives": 8, "epochs": 1}
    return {
        "apart": _difference(one, trained(2)),
        "resumed": _difference(one, trained(2, kept)),
        "hard": _difference(trained(1, **hard), trained(2, **hard)),
        "not_finite": sum(float((~np.isfinite(w)).sum()) for w in trained(2, dropout=0.2, user_dropout=0.2, epochs=1)),
    }


def _next_item(folder: Path) -> dict[str, float]:
    from pipelines.models.retrievers.base import RunOptions
    from pipelines.models.retrievers.sasrec import SASRec, SASRecSettings
    from tests.contracts.retriever import walks
    from tests.support.train_and_die import stopped_after

    settings = SASRecSettings(
        dim=8, length=8, num_blocks=1, num_heads=1, batch_size=4, epochs=2, patience=2, dropout=0.0, warmup_steps=0,
        loss="sampled_softmax", num_negatives=7, steps_per_execution=8, xla=False,
    )  # fmt: skip

    def trained(num_devices: int, checkpoints: Path | None = None) -> Any:
        model = SASRec(settings)
        model.fit(walks(), options=RunOptions(5, device="cpu", num_devices=num_devices, checkpoints=checkpoints))
        return model.model.get_weights()

    kept = folder / "next_item"
    with stopped_after(1):
        trained(1, kept)
    one = trained(1)
    return {"apart": _difference(one, trained(2)), "resumed": _difference(one, trained(2, kept))}


def _difference(one: list[Any], other: list[Any]) -> float:
    """Return the greatest difference of two models' weights."""
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


if __name__ == "__main__":
    main()
