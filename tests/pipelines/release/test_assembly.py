import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import RulesConfig
from pipelines.errors import IntegrityError
from pipelines.release.assembly import MAX_POPULAR, popular_items, write_release
from pipelines.release.manifest import read_manifest
from tests.support.tiny_release import items_table, write_tiny_release


def test_popular_items_come_by_recent_weeks_then_all_time_then_id():
    items = pa.table(
        {
            "item_id": ["d", "c", "b", "a"],
            "item_num_events_30d": [1, 1, None, 5],
            "item_num_events": [2, 2, 9, 1],
        }
    )
    assert popular_items(items)["item_id"].to_pylist() == ["a", "c", "d", "b"]


def test_popular_items_are_bounded_and_need_no_counts():
    items = pa.table({"item_id": [f"{i:05}" for i in range(MAX_POPULAR + 5)]})
    popular = popular_items(items)
    assert popular.num_rows == MAX_POPULAR
    assert popular["item_id"][0].as_py() == "00000"


def test_items_and_index_must_have_the_same_rows(tmp_path):
    release = write_tiny_release(tmp_path)
    corpus = tmp_path / "corpus"
    pq.write_table(items_table(59), corpus / "items.parquet")
    with pytest.raises(IntegrityError, match=r"60 rows and items\.parquet 59"):
        write_release(
            tmp_path / "again",
            retrieval=tmp_path / "models" / "retrieval",
            ranking=tmp_path / "models" / "ranking",
            corpus=corpus,
            rules=RulesConfig(),
            manifest=read_manifest(release),
        )


def test_two_assemblies_of_the_same_parts_have_the_same_bytes(tmp_path):
    one = write_tiny_release(tmp_path / "one")
    two = write_tiny_release(tmp_path / "two")
    assert read_manifest(one).files == read_manifest(two).files
