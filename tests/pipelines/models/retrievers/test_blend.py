from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import ConfigError
from pipelines.models.retrievers.base import Fitted, RunOptions, Validation
from pipelines.models.retrievers.blend import Blend, BlendSettings
from pipelines.models.retrievers.ease import Ease, EaseSettings
from pipelines.models.retrievers.transitions import Transitions
from pipelines.models.sequences import Sequences
from tests.contracts.retriever import RetrieverContract, walks

NOISE = {"model": "random"}
GOOD = {"model": "transitions"}


class TestBlend(RetrieverContract):
    name = "blend"
    settings = {"parts": [GOOD, {"model": "ease", "settings": {"l2": 5.0}, "weight": 0.2}]}


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


def test_a_part_that_is_unknown_is_named():
    with pytest.raises(ConfigError, match="'nothing' is unknown"):
        Blend(BlendSettings(parts=[{"model": "nothing"}]))
