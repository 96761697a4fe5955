from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import ConfigError
from pipelines.inputs.item_encoder import ItemEncoder
from pipelines.inputs.supplied_vectors import SuppliedVectors, vector_rows

TRAINED = pa.array(["a", "b", "a"])


def written(folder: Path, **columns: object) -> Path:
    given = {"item_id": ["a", "b", "cold"], "vector": [[0.0, 1.0], [2.0, 3.0], [9.0, 9.0]], **columns}
    pq.write_table(pa.table(given), folder / "vectors.parquet")
    return folder / "vectors.parquet"


def test_only_items_of_training_decide_mean_and_length(tmp_path):
    found = SuppliedVectors.read(written(tmp_path), "vector", trained_on=TRAINED)
    # The mean of a and b is (1, 2), from which both are sqrt(2) away; the last column says that there is a vector.
    expected = [[0, 0, 1], [-1, -1, 0], [1, 1, 0], [8, 7, 0]]
    np.testing.assert_allclose(found.table, np.array(expected) / [2**0.5, 2**0.5, 1], rtol=1e-6)
    assert found.table.dtype == np.float32


@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string())])
def test_an_item_without_a_vector_is_row_0(kind):
    known = pa.array(["a", "b"])
    asked = pa.array(["b", "x", None, "a"]).cast(kind) if kind == pa.string() else pa.array(["b", "x", None, "a"])
    asked = asked if kind == pa.string() else asked.dictionary_encode()
    assert vector_rows(known, asked, 4).tolist() == [2, 0, 0, 1]
    assert vector_rows(known, None, 2).tolist() == [0, 0]


def test_integer_ids_and_null_vectors_are_read(tmp_path):
    file = written(tmp_path, item_id=[1, 2, 3], vector=pa.array([[1.0], None, [2.0]]))
    found = SuppliedVectors.read(file, "vector", trained_on=pa.array(["1", "2"]))
    assert found.item_ids.to_pylist() == ["1", "3"]


def test_an_encoder_keeps_which_items_have_a_vector(tmp_path):
    items = pa.table({"item_id": ["a", "b", "new"], "title": ["A", "B", "New"]})
    encoder = ItemEncoder.fit(items, num_oov_buckets=2, max_text_tokens=2)
    assert "vector" not in encoder.shapes
    assert "vector" not in encoder.encode(items)
    encoder.vector_ids = pa.array(["b", "a"])
    encoder.save(tmp_path / "inputs")
    loaded = ItemEncoder.load(tmp_path / "inputs")
    assert loaded.shapes["vector"] == ((), "int32")
    assert loaded.encode(items)["vector"].tolist() == [2, 1, 0]


def test_moments_are_of_each_row_or_of_the_file_or_unknown(tmp_path):
    moment = datetime(2025, 1, 31, tzinfo=UTC)
    read = partial(SuppliedVectors.read, column="vector", trained_on=TRAINED)
    assert read(written(tmp_path)).as_of.to_pylist() == [None] * 3
    given = written(tmp_path, as_of=["2025-01-31T00:00:00Z", None, "2025-01-31T01:00:00+01:00"])
    assert read(given).as_of.to_pylist() == [moment, None, moment]
    table = pq.read_table(written(tmp_path)).replace_schema_metadata({"as_of": "2025-01-31T00:00:00Z"})
    pq.write_table(table, given)
    assert read(given).as_of.to_pylist() == [moment] * 3


@pytest.mark.parametrize(
    ("columns", "column", "message"),
    [
        ({}, "embedding", "has no column embedding; it has item_id, vector"),
        ({"vector": [1.0, 2.0, 3.0]}, "vector", "is double; expected lists of numbers"),
        ({"vector": [[1.0], [1.0, 2.0], [1.0]]}, "vector", "have 1 to 2 numbers; expected as many in each"),
        ({"vector": [[1.0], [float("nan")], [1.0]]}, "vector", "the vector of item b in .* is not finite"),
        ({"as_of": ["2025-01-31T00:00:00Z", "soon", None]}, "vector", "`as_of` of .* is no moment"),
        ({"item_id": ["a", "a", "b"]}, "vector", "has 1 items twice"),
        ({"item_id": ["x", "y", "z"]}, "vector", "vectors of 3 items, none of which is in the training window"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, columns, column, message):
    with pytest.raises(ConfigError, match=message):
        SuppliedVectors.read(written(tmp_path, **columns), column, trained_on=TRAINED)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.parquet, which is not a file"):
        SuppliedVectors.read(tmp_path / "nothing.parquet", "vector", trained_on=TRAINED)
