"""How usual an item is in a context: the contract, the shares, and postfiltering by a blend."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import TrainingError
from pipelines.models.contexts import Contexts
from pipelines.models.retrievers.base import RunOptions
from pipelines.models.retrievers.blend import Blend, BlendSettings
from pipelines.models.retrievers.context_lift import ContextLift, ContextLiftSettings
from pipelines.models.sequences import Sequences
from pipelines.protocols.measuring import as_validation, measure_ranking
from pipelines.protocols.splits import global_time
from tests.contracts.retriever import NUM_DEVICES, NUM_GROUPS, RetrieverContract, served_scores, serving_layout, walks
from tests.support.planted_context import chosen

SIZES = (4, 2, NUM_DEVICES)
OPTIONS = RunOptions(seed=1)


def walks_by_daypart() -> Sequences:
    """Walks of each group in a part of the day of its own, on days and devices that say nothing."""
    train, rng = walks(), np.random.default_rng(0)
    random = [rng.integers(-1, size, len(train.items)) for size in SIZES[1:]]
    return replace(train, contexts=Contexts(np.stack([train.rows % NUM_GROUPS, *random], axis=1), SIZES))


class TestContextLift(RetrieverContract):
    name = "context_lift"
    learns = 0.4  # it knows the group that is usual now, and nothing of the user

    def train(self) -> Sequences:
        return walks_by_daypart()


class TestContextFilter(TestContextLift):
    settings = {"how": "filter"}
    learns = 0.0  # items that are left are equal


def lifts(codes: list[int], items: list[int], **settings: object) -> np.ndarray:
    """Return the lifts by device of items used at night on one of two devices, -1 where the device is not known."""
    contexts = Contexts(np.array([[0, -1, code] for code in codes]), SIZES)
    users = np.zeros(len(codes), dtype=np.int64)
    train = Sequences.of(users, np.array(items), num_users=1, num_items=3, contexts=contexts)
    model = ContextLift(ContextLiftSettings(**settings))
    model.fit(train, options=OPTIONS)
    return model.lifts[:, -NUM_DEVICES:]


def test_a_lift_is_the_items_smoothed_share_against_that_of_all():
    # Item 0: twice on device 0, once on 1, once on one not known. Item 1: once on 1. Item 2: never.
    found = lifts([0, 0, 1, -1, 1], [0, 0, 0, 0, 1], smoothing=2)
    own = np.array([[(2 + 1) / (3 + 2), (1 + 1) / (3 + 2)], [(0 + 1) / (1 + 2), (1 + 1) / (1 + 2)], [0.5, 0.5]])
    np.testing.assert_allclose(found, np.log(own / 0.5), rtol=1e-6)


def test_a_filter_marks_what_is_rare_under_a_condition():
    codes, items = [0] * 50 + [1] * 50, [0] * 50 + [1] * 25 + [2] * 25
    assert lifts(codes, items, how="filter", smoothing=1).tolist() == [[0, -1], [-1, 0], [-1, 0]]
    assert not lifts(codes, items, how="filter", smoothing=1e4).any()


@pytest.mark.parametrize(("settings", "weight"), [({"smoothing": 1}, 5.0), ({"smoothing": 1, "how": "filter"}, 100.0)])
def test_blended_with_a_model_without_context_it_is_a_postfilter(settings, weight, tmp_path: Path):
    train = walks_by_daypart()
    train.contexts.codes[:, 1:] = -1
    parts = [{"model": "popularity"}, {"model": "context_lift", "settings": settings, "weight": weight}]
    model = Blend(BlendSettings(parts=parts))
    model.fit(train, options=OPTIONS)
    queries, _ = train.take(np.arange(NUM_GROUPS)).without_last()
    best = np.argsort(-model.score(queries), axis=1)[:, :8] // 8
    np.testing.assert_array_equal(best, np.repeat(np.arange(NUM_GROUPS)[:, None], 8, axis=1))

    blind = replace(queries, asked_in=None)
    alone = Blend(BlendSettings(parts=parts[:1]))
    alone.fit(train, options=OPTIONS)
    np.testing.assert_allclose(model.score(blind), alone.score(blind), atol=1e-5)

    layout = serving_layout(len(train))
    model.export(tmp_path, layout=layout)
    bare = replace(queries, times=None, values=None, moments=None)
    served = served_scores(tmp_path, bare, layout)[:, layout.first_item :]
    np.testing.assert_allclose(served, model.score(bare), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("effect", "least", "most"), [(1.0, 1.15, 2.0), (0.0, 0.97, 1.03)])
def test_postfiltering_wins_where_context_matters_and_does_not_hurt_elsewhere(effect, least, most):
    task = replace(global_time(chosen(effect=effect), 0.9, successive=True), remove_seen=False)
    inner = replace(global_time(task.train, 0.9, successive=True), remove_seen=False)
    found = []
    for parts in ([{"model": "ease"}], [{"model": "ease"}, {"model": "context_lift", "weight": 0.2}]):
        model = Blend(BlendSettings(parts=parts, choose_weights=True))
        model.fit(inner.train, options=OPTIONS, validation=as_validation(inner, limit=1_000, seed=1))
        found.append(measure_ranking(model, task, (10,))["ndcg_at_10"])
    assert least < found[1] / found[0] < most


def test_context_is_asked_for_where_there_is_none():
    with pytest.raises(TrainingError, match="none of 480 interactions has a known context"):
        ContextLift().fit(walks(), options=OPTIONS)
