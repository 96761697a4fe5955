from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.inputs.item_encoder import ItemEncoder
from pipelines.inputs.query_encoder import QueryEncoder
from pipelines.inputs.ranking_encoder import RankingEncoder
from tests.support.rows import feature_rows


@pytest.fixture(scope="module")
def pairs() -> pa.Table:
    rows = feature_rows()
    return rows.append_column("retrieval_score", pa.array(np.linspace(-1, 1, rows.num_rows)))


@pytest.fixture(scope="module")
def encoder(pairs) -> RankingEncoder:
    items = ItemEncoder.fit(pairs, num_oov_buckets=4, max_text_tokens=4).vocabularies
    query = QueryEncoder.fit(
        pairs, item_vocabulary=items["item"], category_vocabulary=items["category"], num_oov_buckets=4
    )
    return RankingEncoder.fit(pairs, query=query, items=pairs, num_oov_buckets=4, max_text_tokens=4)


def test_arrays_are_what_shapes_say(pairs, encoder):
    encoded = encoder.encode(pairs)
    assert encoded.keys() == encoder.shapes.keys()
    for name, (shape, dtype) in encoder.shapes.items():
        assert encoded[name].shape == (pairs.num_rows, *shape)
        assert encoded[name].dtype == dtype


def test_pairing_encoded_sides_equals_encoding_pairs(pairs, encoder):
    rows = np.array([5, 0, 399, 5])
    paired = encoder.pair(
        encoder.query.encode(pairs),
        encoder.item.encode(pairs),
        query_rows=rows,
        item_rows=rows,
        retrieval_score=pairs["retrieval_score"].to_numpy()[rows],
        taste_match=pairs["taste_match"].to_numpy()[rows],
    )
    whole = encoder.encode(pairs)
    for name, values in paired.items():
        np.testing.assert_array_equal(values, whole[name][rows], err_msg=name)


def test_saved_and_loaded_it_encodes_the_same(pairs, encoder, tmp_path: Path):
    encoder.save(tmp_path / "ranking_inputs")
    for name, values in RankingEncoder.load(tmp_path / "ranking_inputs").encode(pairs).items():
        np.testing.assert_array_equal(values, encoder.encode(pairs)[name], err_msg=name)
