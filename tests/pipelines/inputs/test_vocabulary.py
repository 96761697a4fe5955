from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.inputs import vocabulary
from pipelines.inputs.vocabulary import Vocabulary


@pytest.fixture
def words() -> Vocabulary:
    return Vocabulary.fit(pa.array(["b", "a", "b", None, "c", "c"]), num_oov_buckets=3)


def test_ids_are_by_frequency_then_by_value_after_padding_and_buckets(words):
    assert words.values.to_pylist() == ["b", "c", "a"]
    assert words.size == 1 + 3 + 3
    assert words.lookup(pa.array(["b", "c", "a", None])).tolist() == [4, 5, 6, 0]


def test_unseen_values_fall_into_buckets_and_never_fail(words):
    ids = words.lookup(pa.array([f"new{n}" for n in range(50)]))
    assert set(ids.tolist()) == {1, 2, 3}


@pytest.mark.parametrize("as_dictionary", [False, True])
def test_few_and_many_values_get_the_same_ids(words, monkeypatch, as_dictionary):
    values = pa.array(["a", "zz", None, "b", "yy", "zz"])
    few = words.lookup(values)
    monkeypatch.setattr(vocabulary, "FEW", 0)
    many = words.lookup(values.dictionary_encode() if as_dictionary else values)
    assert few.tolist() == many.tolist()
    assert many.dtype == np.int32


def test_integer_ids_and_their_text_are_one_id():
    numbers = Vocabulary.fit(pa.array([10, 20, 10]), num_oov_buckets=1)
    assert numbers.lookup(pa.array([20])).tolist() == numbers.lookup(pa.array(["20"])).tolist() == [3]


def test_lists_are_fitted_and_looked_up_flat(words):
    lists = pa.array([["a", "b"], None, []], pa.list_(pa.string()))
    assert Vocabulary.fit(lists, num_oov_buckets=1).values.to_pylist() == ["a", "b"]
    assert words.lookup_lists(lists, num_rows=3, width=2).tolist() == [[6, 4], [0, 0], [0, 0]]
    assert words.lookup_lists(None, num_rows=2, width=1).tolist() == [[0], [0]]


def test_max_size_keeps_the_most_frequent():
    assert Vocabulary.fit(pa.array(["a", "b", "b"]), num_oov_buckets=1, max_size=1).values.to_pylist() == ["b"]


def test_saved_and_loaded_it_gives_the_same_ids(words, tmp_path: Path):
    words.save(tmp_path, "word")
    values = pa.array(["a", "b", "unseen", None])
    assert Vocabulary.load(tmp_path, "word").lookup(values).tolist() == words.lookup(values).tolist()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["word.json", "word.parquet"]


def test_an_empty_vocabulary_still_gives_ids():
    assert Vocabulary.fit(pa.array([], pa.string()), num_oov_buckets=2).lookup(pa.array(["x", None])).tolist()[1] == 0
