from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import ConfigError, TrainingError
from pipelines.index.sparse_vectors import SPARSE_FILE
from pipelines.models.retrievers import blend_export
from pipelines.models.retrievers.base import Fitted, RunOptions, Validation
from pipelines.models.retrievers.blend import Blend, BlendSettings
from pipelines.models.retrievers.ease import Ease, EaseSettings
from pipelines.models.retrievers.transitions import Transitions
from pipelines.models.sequences import Sequences
from tests.contracts.retriever import RetrieverContract, served_scores, serving_layout, walks

NOISE = {"model": "random"}
GOOD = {"model": "transitions"}


EASE = {"model": "ease", "settings": {"l2": 5.0}, "weight": 0.2}
ALS = {"model": "als", "settings": {"num_factors": 8, "l2": 0.1, "num_sweeps": 5}, "weight": 0.1}
KERAS = {
    "model": "youtube",
    "weight": 0.1,
    "settings": {"dim": 8, "length": 8, "epochs": 1, "batch_size": 16, "xla": False},
}


class TestBlend(RetrieverContract):
    name = "blend"
    settings = {"parts": [GOOD, EASE, ALS, {"model": "popularity", "weight": 0.01}]}


class TestBlendOfSparseVectors(RetrieverContract):
    name = "blend"
    settings = {"scale": "model", "parts": [GOOD, {"model": "item_neighbours", "weight": 0.1}]}


def fitted(**settings: object) -> Blend:
    queries, targets = walks().without_last()
    model = Blend(BlendSettings(**settings))
    model.fit(queries, options=RunOptions(seed=1), validation=Validation(queries, targets))
    return model


def test_scores_are_brought_to_one_scale_before_they_are_added():
    train = walks()
    part = {"model": "ease", "settings": {"l2": 5.0}}
    blended, alone = Blend(BlendSettings(parts=[part, {**part, "weight": 2.0}])), Ease(EaseSettings(l2=5))
    for model in (blended, alone):
        model.fit(train, options=RunOptions(seed=1))
    scores = alone.score(train)
    standard = (scores - scores.mean(1, keepdims=True)) / scores.std(1, keepdims=True)
    np.testing.assert_allclose(blended.score(train), 3 * standard, atol=1e-4)


def test_weights_are_those_given_unless_they_are_chosen_on_the_validation_rows():
    assert fitted(parts=[NOISE, GOOD]).weights.tolist() == [1, 1]
    noise, good = fitted(parts=[NOISE, GOOD], choose_weights=True).weights
    assert noise < good


def test_rows_without_a_target_do_not_choose():
    queries, targets = walks().without_last()
    some = np.where(np.arange(len(targets)) < 20, targets, -1)
    chosen = []
    for validation in (Validation(queries, some), Validation(queries.take(np.arange(20)), targets[:20])):
        model = Blend(BlendSettings(parts=[NOISE, GOOD], choose_weights=True))
        model.fit(queries, options=RunOptions(seed=1), validation=validation)
        chosen.append(model.weights.tolist())
    assert chosen[0] == chosen[1]


def test_chosen_weights_survive_disk(tmp_path):
    model = fitted(parts=[NOISE, GOOD], choose_weights=True)
    model.save(tmp_path)
    assert Blend.load(tmp_path).weights.tolist() == model.weights.tolist()


def test_each_part_keeps_its_checkpoints_in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folders = []

    def fit(part: Transitions, train: Sequences, *, options: RunOptions, validation: object = None) -> Fitted:
        folders.append(options.checkpoints)
        return Fitted()

    monkeypatch.setattr(Transitions, "fit", fit)
    model = Blend(BlendSettings(parts=[GOOD, GOOD]))
    for checkpoints in (tmp_path, None):
        model.fit(walks(), options=RunOptions(seed=1, checkpoints=checkpoints))
    assert folders == [tmp_path / "part_0", tmp_path / "part_1", None, None]


def test_the_same_model_twice_is_two_models() -> None:
    blended = Blend(BlendSettings(parts=[ALS, ALS]))
    blended.fit(walks(), options=RunOptions(seed=1))
    one, other = (part.score(walks()) for part in blended.parts)
    assert not np.allclose(one, other)


def test_a_part_that_is_unknown_is_named():
    with pytest.raises(ConfigError, match="'nothing' is unknown"):
        Blend(BlendSettings(parts=[{"model": "nothing"}]))


def test_one_scale_a_model_is_its_mean_deviation_over_the_validation_queries():
    train = walks()
    queries, targets = train.without_last()
    parts = [{"model": "ease", "settings": {"l2": 5.0}, "weight": 2.0}, GOOD]
    blended = Blend(BlendSettings(parts=parts, scale="model"))
    blended.fit(train, options=RunOptions(seed=1), validation=Validation(queries, targets))
    alone = [part.score(train) for part in blended.parts]
    scales = [part.score(queries).std(axis=1).mean() for part in blended.parts]
    np.testing.assert_allclose(blended.score(train), 2 * alone[0] / scales[0] + alone[1] / scales[1], rtol=1e-4)


def test_a_blend_of_sparse_vectors_is_sparse_and_another_is_not(tmp_path):
    layout = serving_layout(len(walks()))
    for name, scale, parts in (("sparse", "model", [GOOD, GOOD]), ("full", "query", [GOOD, GOOD])):
        fitted(parts=parts, scale=scale).export(tmp_path / name, layout=layout)
    assert (tmp_path / "sparse" / SPARSE_FILE).exists()
    assert not (tmp_path / "full" / SPARSE_FILE).exists()


def test_graphs_of_keras_and_of_others_become_one(tmp_path):
    train, layout = walks(), serving_layout(len(walks()))
    model = Blend(BlendSettings(parts=[GOOD, KERAS, {**NOISE, "weight": 0}]))
    model.fit(train, options=RunOptions(seed=1, device="cpu"))
    model.export(tmp_path, layout=layout)
    queries = replace(train.take(np.arange(6)), times=None, values=None)
    served = served_scores(tmp_path, queries, layout)[:, layout.first_item :]
    np.testing.assert_allclose(served, model.score(queries), rtol=1e-3, atol=1e-3)


def test_too_many_sparse_vectors_are_not_written_in_full(tmp_path, monkeypatch):
    monkeypatch.setattr(blend_export, "MAX_FULL_ITEMS", 31)
    model = fitted(parts=[GOOD, ALS], scale="model")
    with pytest.raises(TrainingError, match=r"'transitions' has sparse vectors of 32 items.*at most 31 items"):
        model.export(tmp_path, layout=serving_layout(len(walks())))


def test_scores_that_are_all_equal_count_nothing():
    train = walks()
    nobody = train.keep(np.zeros(len(train.items), dtype=bool))
    model = fitted(parts=[{"model": "item2vec", "settings": {"popularity_weight": 0}}, GOOD])
    assert np.isfinite(model.score(nobody)).all()
