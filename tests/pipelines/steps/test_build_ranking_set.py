import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.errors import TrainingError
from pipelines.steps.build_ranking_set import build_ranking_set
from tests.support.trained_models import RANKING, SEED, World


def read(world: World, split: str) -> tuple:
    folder = Path(world.ranking_set.uri)
    return pq.read_table(folder / f"{split}.parquet"), pq.read_table(folder / f"{split}_queries.parquet")


def test_pairs_have_what_the_ranker_reads(world):
    pairs, queries = read(world, "train")
    assert {
        "query_id",
        "item_id",
        "label",
        "value",
        "weight",
        "retrieval_score",
        "taste_match",
        "item_mean_value",
    } <= set(pairs.column_names)
    assert pairs["query_id"].to_numpy().max() == queries.num_rows - 1
    assert "item_num_events" not in queries.column_names
    assert world.ranking_set.num_rows == {s: read(world, s)[0].num_rows for s in ("train", "validation")}


def test_a_candidate_is_positive_if_the_user_went_on_to_use_it_and_had_not_before(world):
    pairs, queries = read(world, "train")
    rows, stamps = world.rows, world.rows["event_timestamp"].to_pylist()
    by_user: dict[str, list[tuple]] = {}
    for user, item, at in zip(rows["user_id"].to_pylist(), rows["item_id"].to_pylist(), stamps, strict=True):
        by_user.setdefault(user, []).append((at, item))
    asked = list(zip(queries["user_id"].to_pylist(), queries["event_timestamp"].to_pylist(), strict=True))
    horizon = world.training_set.test_start - world.training_set.validation_start
    until = world.training_set.validation_start  # what follows is what validation asks for
    for number, item, label in zip(*(pairs[c].to_pylist() for c in ("query_id", "item_id", "label")), strict=True):
        user, moment = asked[number]
        assert item not in {i for at, i in by_user[user] if at < moment}
        end = min(until, moment + horizon + timedelta(microseconds=1))
        assert label == float(item in {i for at, i in by_user[user] if moment <= at < end})
    assert 0 < np.mean(pairs["label"].to_numpy()) < 1


def test_training_asks_in_the_training_window_and_validation_in_its_own(world):
    cut = world.training_set.validation_start
    assert max(read(world, "train")[1]["event_timestamp"].to_pylist()) < cut
    assert set(read(world, "validation")[1]["event_timestamp"].to_pylist()) == {cut}


def test_validation_counts_all_that_a_user_did_in_the_window(world):
    pairs, queries = read(world, "validation")
    window = pq.read_table(Path(world.training_set.uri) / "validation.parquet")
    did = set(zip(window["user_id"].to_pylist(), window["item_id"].to_pylist(), strict=True))
    users = queries["user_id"].to_pylist()
    for number, item, label in zip(*(pairs[c].to_pylist() for c in ("query_id", "item_id", "label")), strict=True):
        assert label == float((users[number], item) in did)


def test_validation_asks_once_a_user_and_keeps_whole_lists(world):
    pairs, queries = read(world, "validation")
    assert len(pc.unique(queries["user_id"])) == queries.num_rows
    assert set(pairs["weight"].to_pylist()) == {1.0}
    # Some of the 40 items are seen: then fewer than 20 may be left.
    assert np.bincount(pairs["query_id"].to_numpy()).max() == RANKING.num_retrieved


def test_no_corpus_is_later_than_its_queries(world):
    _, queries = read(world, "train")
    first = min(queries["event_timestamp"].to_pylist())
    assert min(world.feature_store.moments) <= first
    assert max(world.feature_store.moments) < world.training_set.test_start


def test_scores_are_those_of_the_retrieval_version(world):
    from pipelines.models.vectors import embed_queries

    pairs, queries = read(world, "validation")
    bundle = world.registry.download(world.retrieval)
    vectors = embed_queries(bundle, queries)
    own = np.abs(pairs["retrieval_score"].to_numpy())
    assert (own <= 1 + 1e-5).all()
    assert vectors.shape == (queries.num_rows, 8)


def test_equal_arguments_give_the_folder_that_is_there(world, monkeypatch):
    monkeypatch.setattr("pipelines.steps.build_ranking_set._PairBuilder", None)
    again = build_ranking_set(
        world.training_set, world.retrieval, config=RANKING, feature_store=world.feature_store,
        registry=world.registry, artifacts=world.artifacts, seed=SEED,
    )  # fmt: skip
    assert again == world.ranking_set


def test_an_empty_window_is_refused(world, tmp_path):
    shutil.copytree(world.training_set.uri, tmp_path / "set")
    file = tmp_path / "set" / "validation.parquet"
    pq.write_table(pq.read_table(file).slice(0, 0), file)
    empty = world.training_set.model_copy(update={"uri": str(tmp_path / "set"), "fingerprint": "empty"})
    with pytest.raises(TrainingError, match=r"validation\.parquet has 0 labels; expected at least 1"):
        build_ranking_set(
            empty,
            world.retrieval,
            config=RANKING,
            feature_store=world.feature_store,
            registry=world.registry,
            artifacts=world.artifacts,
            seed=SEED,
        )
