import numpy as np
import pyarrow as pa
import pytest

from pipelines.inputs.arrays import bucket, column, elements, list_lengths, numbers, pad_lists


def test_pad_lists_keeps_the_first_and_aligns_left():
    lists = pa.array([[1, 2, 3], None, [], [4]], pa.list_(pa.int64()))
    flat = np.array([1, 2, 3, 4])
    assert pad_lists(lists, flat, width=2).tolist() == [[1, 2], [0, 0], [0, 0], [4, 0]]


def test_pad_lists_keeps_the_newest_in_the_last_column():
    lists = pa.array([[1, 2, 3], [4]], pa.list_(pa.int64()))
    assert pad_lists(lists, np.array([1, 2, 3, 4]), width=2, keep="last").tolist() == [[2, 3], [0, 4]]


def test_a_slice_of_a_list_column_pads_its_own_rows_only():
    whole = pa.array([[1, 2], [3], [4, 5]], pa.list_(pa.int64()))
    part = whole.slice(1, 2)
    assert elements(part).to_pylist() == [3, 4, 5]
    assert pad_lists(part, elements(part).to_numpy(), width=2).tolist() == [[3, 0], [4, 5]]
    assert list_lengths(part).tolist() == [1, 2]


def test_a_null_list_that_covers_elements_is_empty():
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 3]), pa.array([7, 8, 9]), mask=pa.array([True, False]))
    assert pad_lists(lists, np.array([7, 8, 9]), width=2).tolist() == [[0, 0], [9, 0]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([1, None]), [1.0, np.nan]),
        (pa.array([True, None]), [1.0, np.nan]),
        (pa.nulls(2), [np.nan, np.nan]),
        (pa.chunked_array([[1.5], [2.5]]), [1.5, 2.5]),
    ],
)
def test_numbers_are_float64_with_nan_for_null(values, expected):
    np.testing.assert_array_equal(numbers(pa.table({"x": values}), "x"), expected)


def test_a_missing_column_is_all_missing():
    table = pa.table({"x": [1, 2]})
    assert np.isnan(numbers(table, "y")).all()
    assert column(table, "y") is None


def test_buckets_never_change():
    # Bundles on disk rely on these values.
    assert [bucket(text, 8) for text in ("u1", "i2", "Amélie")] == [6, 1, 6]
