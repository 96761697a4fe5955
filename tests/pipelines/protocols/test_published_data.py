"""The protocols on the real files: counts that their sources give, and one figure a protocol that is known."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.protocols.base import Contender, Parts
from pipelines.protocols.catalogue import BIASES, EASE, EASE_DECAYED, PROTOCOLS
from pipelines.protocols.files import read_ml_100k
from pipelines.protocols.measuring import contest_ranking
from pipelines.protocols.rating_measures import contest_rating
from pipelines.protocols.splits import tfds_order

pytestmark = pytest.mark.realdata


def parts_of(name: str, data: Path) -> Parts:
    if not (data / PROTOCOLS[name].data).is_dir():
        pytest.skip(f"{data} holds no {PROTOCOLS[name].data}")
    return PROTOCOLS[name].split(data, 0)


def figures(contender: Contender, parts: Parts, *names: str) -> list[float]:
    values = contest_ranking(contender, parts, "test", 0)
    return [round(values[name], 4) for name in names]


def test_ml_1m_leave_one_out(data_folder: Path) -> None:
    parts = parts_of("ml-1m-leave-one-out", data_folder)
    assert (len(parts.test.queries), parts.test.train.num_items) == (6040, 3416)
    assert len(parts.test.train.items) == 999_611 - 6040
    assert len(parts.validation.train.items) == 999_611 - 2 * 6040
    assert figures(EASE, parts, "hit_rate_at_10", "ndcg_at_10") == pytest.approx([0.1099, 0.0544], abs=2e-4)


def test_ml_1m_leave_one_out_with_times_asks_the_same_and_tells_when(data_folder: Path) -> None:
    timed, plain = (parts_of(f"ml-1m-leave-one-out{end}", data_folder).test for end in ("-timed", ""))
    np.testing.assert_array_equal(timed.queries.items, plain.queries.items)
    np.testing.assert_array_equal(timed.relevant.items, plain.relevant.items)
    newest = timed.queries.times[timed.queries.offsets[1:] - 1]
    assert (timed.queries.moments >= newest).all()
    assert (timed.queries.moments == newest).mean() == pytest.approx(0.409, abs=0.001)


def test_ml_1m_global_time_split(data_folder: Path) -> None:
    parts = parts_of("ml-1m-time-last", data_folder)
    assert parts.test.queries.moments.min() >= 978_132_488 > parts.test.train.times.max()
    assert (len(parts.test.queries), int((parts.test.queries.users < 0).sum())) == (1209, 29)
    assert parts.test.train.num_items == 3416
    assert parts.validation.queries.moments.max() <= parts.test.train.times.max()
    assert figures(EASE_DECAYED, parts, "hit_rate_at_10", "ndcg_at_10") == pytest.approx([0.1374, 0.0790], abs=2e-3)


def test_ml_100k_as_microsoft_recommenders_split_it(data_folder: Path) -> None:
    parts = parts_of("ml-100k-stratified", data_folder)
    assert len(parts.test.train.items) + len(parts.test.relevant.items) == 100_000
    counts = parts.test.train.lengths + np.bincount(parts.test.queries.users, parts.test.relevant.lengths, 943)
    assert (parts.test.train.lengths == np.floor(counts * 0.75)).all()
    assert figures(EASE, parts, "ndcg_at_10")[0] > 0.4751  # the best of their table


def test_ml_100k_comes_in_the_order_of_tensorflow_datasets(data_folder: Path) -> None:
    events = read_ml_100k(data_folder)
    first = tfds_order(len(events))[0]
    # The example that the tutorials print.
    assert (events.users[first] + 1, events.items[first] + 1) == (138, 357)
    assert (events.values[first], events.times[first]) == (4, 879_024_327)


def test_ml_100k_u1_ratings(data_folder: Path) -> None:
    parts = parts_of("ml-100k-ratings-u1", data_folder)
    assert (len(parts.test.train), len(parts.test.test)) == (80_000, 20_000)
    assert (len(parts.validation.train), len(parts.validation.test)) == (64_000, 16_000)
    assert contest_rating(BIASES, parts, "test", 0)["rmse"] == pytest.approx(0.9547, abs=0.003)


def test_beauty_counts(data_folder: Path) -> None:
    parts = parts_of("beauty-leave-one-out", data_folder)
    assert (len(parts.test.queries), parts.test.train.num_items) == (22_363, 12_101)
    assert len(parts.test.train.items) + len(parts.test.relevant.items) == 198_502
