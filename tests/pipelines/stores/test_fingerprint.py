"""A fingerprint is of rows, not of files."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.stores.fingerprint import Fingerprint, combine, parquet_fingerprint

UTC_US = pa.timestamp("us", tz="UTC")
ROWS = pa.table(
    {
        "name": pa.array(["a", None, "", "ü", "a"]),
        "number": pa.array([1, None, 3, 0, 5], pa.int64()),
        "share": pa.array([0.5, None, 0.0, 2.0, 1.0], pa.float32()),
        "flag": pa.array([True, False, None, True, True]),
        "at": pa.array([datetime(2024, 1, n, tzinfo=UTC) for n in range(1, 6)], UTC_US),
        "tags": pa.array([["x", None], None, [], ["y"], ["x", "yz"]], pa.list_(pa.string())),
        "weights": pa.array([[0.5], None, [], [1.0, None], [2.0]], pa.list_(pa.float32())),
    }
)


def of(table: pa.Table) -> str:
    rows = Fingerprint()
    rows.update(table)
    return rows.hexdigest()


def test_chunks_slices_and_encodings_do_not_matter(tmp_path: Path) -> None:
    whole = of(ROWS)
    parts = Fingerprint()
    for start in range(len(ROWS)):
        parts.update(ROWS.slice(start, 1))
    assert parts.hexdigest() == whole
    assert of(pa.concat_tables([ROWS.slice(0, 2), ROWS.slice(2)])) == whole
    encoded = ROWS.set_column(0, "name", ROWS["name"].dictionary_encode())
    assert of(encoded) == whole
    files = [tmp_path / "a" / "rows.parquet", tmp_path / "b" / "rows.parquet"]
    for file, options in zip(
        files, ({"compression": "zstd"}, {"use_dictionary": False, "row_group_size": 2}), strict=True
    ):
        file.parent.mkdir()
        pq.write_table(ROWS, file, **options)
    assert parquet_fingerprint(files[:1]) == parquet_fingerprint(files[1:]) == combine({"rows.parquet": whole})


@pytest.mark.parametrize(
    ("column", "changed"),
    [
        ("name", ["a", "", "", "ü", "a"]),
        ("name", ["", None, "a", "ü", "a"]),
        ("number", [1, 0, 3, 0, 5]),
        ("number", [None, 1, 3, 0, 5]),
        ("share", [0.5, 0.0, 0.0, 2.0, 1.0]),
        ("flag", [True, None, False, True, True]),
        ("tags", [["x"], [None], [], ["y"], ["x", "yz"]]),
        ("tags", [["x", None], [], [], ["y"], ["x", "yz"]]),
        ("tags", [["x", None], None, [], ["y"], ["xy", "z"]]),
        ("weights", [[0.5], None, [1.0], [None], [2.0]]),
    ],
)
def test_any_other_row_gives_another_fingerprint(column: str, changed: list[object]) -> None:
    index = ROWS.schema.get_field_index(column)
    other = ROWS.set_column(index, column, pa.array(changed, ROWS.schema.field(column).type))
    assert of(other) != of(ROWS)


def test_order_names_and_columns_matter() -> None:
    fingerprints = {of(ROWS), of(ROWS.take([1, 0, 2, 3, 4])), of(ROWS.drop_columns(["flag"])), of(ROWS.slice(0, 4))}
    fingerprints.add(of(ROWS.rename_columns(["title", *ROWS.column_names[1:]])))
    assert len(fingerprints) == 5
