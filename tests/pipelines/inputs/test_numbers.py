import json

import numpy as np
import pyarrow as pa

from pipelines.inputs.numbers import NumberEncoder, cyclic


def encoder(values, scale="linear") -> NumberEncoder:
    return NumberEncoder.fit(pa.table({"x": values}), {"x": scale})


def test_values_are_standardized_by_the_fitted_mean_and_spread():
    encoded = encoder([0.0, 10.0]).encode(pa.table({"x": [0.0, 5.0, 10.0]}))
    np.testing.assert_allclose(encoded[:, 0], [-1, 0, 1])
    assert encoded.dtype == np.float32


def test_counts_are_taken_by_logarithm():
    encoded = encoder([0, 99], "log").encode(pa.table({"x": [9]}))
    np.testing.assert_allclose(encoded[0, 0], 0, atol=1e-6)


def test_a_count_of_nothing_is_zero_and_no_unknown():
    values = pa.array([0, 99, *[None] * 20])
    fitted = encoder(values, "count")
    (none,), (zero,), (most,) = fitted.encode(pa.table({"x": pa.array([None, 0, 99])})).tolist()
    assert none == zero < 0 < most
    raw = np.array([[np.nan], [99.0]])
    np.testing.assert_allclose(fitted.encode_matrix(raw), [[none], [most]], rtol=1e-6)


def test_values_beyond_the_fitted_range_are_clipped():
    encoded = encoder([0.0, 10.0]).encode(pa.table({"x": [1e9, -1e9, np.inf]}))
    np.testing.assert_allclose(encoded[:, 0], [1, -1, 0])


def test_a_null_becomes_the_mean_and_is_flagged_where_nulls_were_fitted():
    with_nulls = encoder(pa.array([1.0, 3.0, *[None] * 20]))
    assert with_nulls.encode(pa.table({"x": pa.array([None, 3.0])})).tolist() == [[0, 1], [1, 0]]


def test_a_column_without_fitted_nulls_has_no_flag_that_nothing_taught():
    encoded = encoder([1.0, 3.0]).encode(pa.table({"x": pa.array([None], pa.float64())}))
    assert encoded.tolist() == [[0]]


def test_a_missing_column_is_a_column_of_nulls():
    assert encoder([1.0, 3.0]).encode(pa.table({"y": [1]})).tolist() == [[0]]


def test_a_column_never_seen_encodes_to_zero():
    fitted = NumberEncoder.fit(pa.table({"y": [1.0]}), {"x": "log"})
    assert fitted.encode(pa.table({"x": [5.0]})).tolist() == [[0]]


def test_it_survives_json():
    original = encoder(pa.array([1.0, 3.0, *[None] * 20]))
    loaded = NumberEncoder.from_dict(json.loads(json.dumps(original.to_dict())))
    table = pa.table({"x": pa.array([2.5, None])})
    np.testing.assert_array_equal(original.encode(table), loaded.encode(table))


def test_midnight_and_the_hour_before_are_neighbours():
    encoded = cyclic(np.array([0.0, 23.0, 12.0, np.nan]), 24)
    assert np.linalg.norm(encoded[0] - encoded[1]) < 0.3 < np.linalg.norm(encoded[0] - encoded[2])
    assert encoded[3].tolist() == [0, 0]


def binned(values, num_bins: int, scale="linear") -> NumberEncoder:
    return NumberEncoder.fit(pa.table({"x": values}), {"x": scale}, num_bins=num_bins)


def test_bins_hold_equally_many_fitted_values_however_these_are_spread():
    spread = np.exp(np.random.default_rng(0).normal(0, 3, 1_000))
    for scale in ("linear", "log"):
        encoded = binned(spread, 4, scale).encode(pa.table({"x": spread}))
        assert encoded.sum(axis=0).tolist() == [250, 250, 250, 250]
        assert encoded.sum(axis=1).tolist() == [1] * 1_000
        assert encoded[np.argsort(spread)[[0, 250, 500, 750]]].tolist() == np.eye(4).tolist()


def test_values_beyond_the_fitted_ones_are_in_the_outer_bins_and_a_null_in_none():
    encoder = binned(pa.array([1.0, 2.0, 3.0, 4.0, *[None] * 20]), 2)
    encoded = encoder.encode(pa.table({"x": pa.array([-1e9, 2.5, 1e9, None])}))
    assert encoded.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert encoder.width == 3


def test_a_value_that_most_rows_have_is_in_one_bin():
    encoder = binned([0.0] * 8 + [1.0, 2.0], 4)
    zero, one = encoder.encode(pa.table({"x": [0.0, 1.0]}))
    assert encoder.width == len(zero) == 4
    assert zero.sum() == one.sum() == 1
    assert encoder.encode(pa.table({"x": [0.0]})).tolist() == [zero.tolist()]


def test_a_column_never_seen_is_in_one_bin():
    fitted = NumberEncoder.fit(pa.table({"y": [1.0]}), {"x": "log"}, num_bins=3)
    assert fitted.encode(pa.table({"x": [0.0, 5.0]})).tolist() == [[0, 0, 1], [0, 0, 1]]


def test_bins_survive_json_and_are_not_in_what_was_written_without_them():
    original = binned(pa.array([1.0, 3.0, 9.0, *[None] * 20]), 3)
    loaded = NumberEncoder.from_dict(json.loads(json.dumps(original.to_dict())))
    table = pa.table({"x": pa.array([2.5, None, 8.0])})
    np.testing.assert_array_equal(original.encode(table), loaded.encode(table))
    assert "edges" not in encoder([1.0, 3.0]).to_dict()
