from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.inputs.item_encoder import QUALITY, ItemEncoder
from tests.support.rows import feature_rows


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return feature_rows()


@pytest.fixture(scope="module")
def encoder(rows) -> ItemEncoder:
    return ItemEncoder.fit(rows, num_oov_buckets=4, max_text_tokens=4)


def test_arrays_are_what_shapes_say(rows, encoder):
    encoded = encoder.encode(rows)
    assert encoded.keys() == encoder.shapes.keys()
    for name, (shape, dtype) in encoder.shapes.items():
        assert encoded[name].shape == (rows.num_rows, *shape)
        assert encoded[name].dtype == dtype


def test_a_cold_item_keeps_its_content(encoder):
    cold = pa.table({"item_id": ["new"], "title": ["A new drama"], "categories": [["drama", "unheard of"]]})
    encoded = encoder.encode(cold)
    assert 1 <= encoded["item"][0] <= 4
    drama = encoder.vocabularies["category"].lookup(pa.array(["drama"]))[0]
    assert encoded["categories"][0, 0] == drama
    assert encoder.vocabularies["token"].lookup(pa.array(["drama"]))[0] in encoded["tokens"][0]


def test_title_comes_before_text(encoder, rows):
    with_text = ItemEncoder.fit(
        pa.table({"item_id": ["a"], "title": ["Alpha"], "text": ["beta gamma"], "categories": [["c"]]}),
        num_oov_buckets=1,
        max_text_tokens=2,
    )
    encoded = with_text.encode(pa.table({"item_id": ["a"], "title": ["Alpha"], "text": ["beta gamma"]}))
    assert encoded["tokens"].tolist() == [with_text.vocabularies["token"].lookup(pa.array(["alpha", "beta"])).tolist()]


def test_numeric_columns_are_the_callers_choice(rows):
    quality = ItemEncoder.fit(rows, num_oov_buckets=4, max_text_tokens=4, scales=QUALITY)
    assert quality.shapes["item_numbers"] == ((3,), "float32")


def test_no_columns_at_all_is_no_error(encoder):
    encoded = encoder.encode(pa.table({"item_id": pa.array([None, "i1"], pa.string())}))
    assert encoded["item"][0] == 0
    assert not encoded["tokens"].any()


def test_saved_and_loaded_it_encodes_the_same(rows, encoder, tmp_path: Path):
    encoder.save(tmp_path / "item_inputs")
    for name, values in ItemEncoder.load(tmp_path / "item_inputs").encode(rows).items():
        np.testing.assert_array_equal(values, encoder.encode(rows)[name], err_msg=name)
