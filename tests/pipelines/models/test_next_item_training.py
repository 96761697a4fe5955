from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import ConfigError, TrainingError
from pipelines.models.next_item_training import Batches
from pipelines.models.packing import Steps
from pipelines.models.retrievers.base import Fitted, RunOptions, Validation
from pipelines.models.retrievers.sasrec import SASRec, SASRecSettings
from pipelines.models.training import forget_models
from tests.contracts.retriever import walks
from tests.support.train_and_die import train_and_die

SETTINGS = SASRecSettings(
    dim=8, length=8, num_blocks=1, num_heads=1, batch_size=4, epochs=3, patience=3, dropout=0.3, warmup_steps=5,
    loss="sampled_softmax", num_negatives=7, negatives="popularity", checkpoint_batches=7,
)  # fmt: skip


def fitted(folder: Path | None) -> tuple[SASRec, Fitted]:
    train = walks()
    queries, targets = train.without_last()
    model = SASRec(SETTINGS)
    return model, model.fit(
        train, options=RunOptions(seed=5, checkpoints=folder), validation=Validation(queries, targets)
    )


@pytest.mark.slow
def test_killed_anywhere_it_ends_as_if_it_had_not_been(tmp_path: Path):
    # Twenty batches an epoch and a checkpoint every seven: the fifth is in the middle of the second epoch.
    train_and_die(__name__, tmp_path, checkpoint=5)
    (resumed, went), (uninterrupted, expected) = fitted(tmp_path), fitted(None)
    assert went.fit == expected.fit
    for weight, other in zip(resumed.model.variables, uninterrupted.model.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), np.asarray(other))
    # What is done is not done again.
    again, unchanged = fitted(tmp_path)
    assert unchanged.fit == expected.fit
    np.testing.assert_array_equal(again.item_vectors(), uninterrupted.item_vectors())


def test_epochs_differ_and_are_repeatable():
    steps = Steps.learned_from(walks())
    batches = Batches(steps, length=5, batch_size=8, seed=1, num_negatives=4)
    count, first = batches.of(1)
    first_epoch, again = list(first), list(batches.of(1)[1])
    assert len(first_epoch) == count
    assert all((a[name] == b[name]).all() for a, b in zip(first_epoch, again, strict=True) for name in a)
    assert any((a["inputs"] != b["inputs"]).any() for a, b in zip(first_epoch, batches.of(2)[1], strict=False))
    (last,) = batches.of(1, start=count - 1)[1]
    assert all((last[name] == first_epoch[-1][name]).all() for name in last)


def test_negatives_follow_their_shares():
    steps = Steps.learned_from(walks())
    cumulative = np.cumsum(np.eye(32)[7])
    batches = Batches(steps, length=5, batch_size=8, seed=1, num_negatives=50, cumulative=cumulative)
    assert (next(batches.of(1)[1])["negatives"] == 7).all()


def test_hidden_times_hide_whole_windows():
    batches = Batches(Steps.learned_from(walks()), length=6, batch_size=40, seed=1, timed=True, hidden_times=0.5)
    arrays = next(batches.of(1)[1])
    hidden = (arrays["input_times"] < 0).mean(axis=1)
    assert set(hidden) == {0.0, 1.0}
    assert ((arrays["target_times"] < 0) == (arrays["input_times"] < 0)).all()


def test_divergence_is_refused():
    model = SASRec(SETTINGS.model_copy(update={"learning_rate": 1e30, "warmup_steps": 0}))
    with pytest.raises(TrainingError, match="Lower learning_rate"):
        model.fit(walks(), options=RunOptions(seed=1))


def test_a_device_that_is_not_there_is_refused():
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="sees none"):
        SASRec(SETTINGS).fit(walks(), options=RunOptions(seed=1, device="gpu"))


def test_low_precision_learns_and_is_scored_alike_after_loading(tmp_path: Path):
    model = SASRec(SETTINGS)
    fit = model.fit(walks(), options=RunOptions(seed=1, precision="mixed_bfloat16")).fit
    assert fit.curves["loss"][-1] < fit.curves["loss"][0]
    assert model.model.body.attentions[0].compute_dtype == "bfloat16"
    model.save(tmp_path)
    loaded = SASRec.load(tmp_path)
    np.testing.assert_array_equal(loaded.score(walks(6)), model.score(walks(6)))


def test_a_model_after_others_were_given_up_is_built_as_the_first():
    import keras

    keras.layers.Dense(1)
    forget_models()
    assert keras.layers.Dense(1).name == "dense"
