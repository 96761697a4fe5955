"""The as-of store reads, joins and writes in an object store as it does in a folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from feast import FileSource
from feast.data_format import DeltaFormat, ParquetFormat
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage

from pipelines.stores.asof_offline_store import AsOfOfflineStore
from pipelines.stores.asof_sources import open_filesystem
from tests.support.asof import FEATURES, LABELS, NO_ON_DEMAND, config, feature_rows, feature_view, label_rows
from tests.support.servers import no_s3, s3_server

# user, shop, minute, arrival, value, tags
OLD = feature_rows([("a", 1, 0, 0, 1, ["x"]), ("b", 1, 2, 2, 2, []), ("a", 1, 4, 5, 3, ["y"])])
CORRECTED = feature_rows([("a", 1, 4, 6, 30, ["z"])])
TABLE = pa.Table.from_pylist(label_rows([("a", 1, 5), ("b", 1, 1), ("a", 1, 1), ("b", 1, 9)]), LABELS)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    if reason := no_s3():
        pytest.skip(f"the object store is not tested: {reason}")
    with s3_server(tmp_path_factory.mktemp("s3")) as options:
        yield options


def source(path: str, file_format: Any) -> FileSource:
    return FileSource(
        name="rows", path=path, file_format=file_format, timestamp_field="ts", created_timestamp_column="created"
    )


def joined(settings: Any, rows: FileSource) -> Any:
    view = feature_view(rows)
    return AsOfOfflineStore.get_historical_features(
        settings, [view], ["view:value", "view:tags"], TABLE, NO_ON_DEMAND, "p"
    )


def test_a_delta_table_is_joined_at_its_pinned_version(tmp_path: Path, options: dict[str, str]) -> None:
    for rows in (OLD, CORRECTED):
        write_deltalake(
            "s3://lake/p/rows", pa.Table.from_pylist(rows, FEATURES), mode="append", storage_options=options
        )
    settings = {"lake_uri": "s3://lake/p", "storage_options": options}
    rows = source("rows", DeltaFormat())
    assert joined(config(tmp_path, **settings), rows).to_arrow()["value"].to_pylist() == [30, None, 1, 2]
    pinned = config(tmp_path, **settings, versions={"rows": 0})
    assert joined(pinned, rows).to_arrow()["value"].to_pylist() == [3, None, 1, 2]


def test_parquet_is_joined_and_the_result_is_written_beside_it(tmp_path: Path, options: dict[str, str]) -> None:
    filesystem, within = open_filesystem("s3://lake/files/rows.parquet", options)
    pq.write_table(pa.Table.from_pylist(OLD, FEATURES), within, filesystem=filesystem)
    settings = config(tmp_path, lake_uri="s3://lake/files", storage_options=options)
    job = joined(settings, source("rows.parquet", ParquetFormat()))
    assert job.to_arrow()["tags"].to_pylist() == [["y"], None, ["x"], []]
    job.persist(SavedDatasetFileStorage("s3://lake/files/joined.parquet", ParquetFormat()))
    filesystem, within = open_filesystem("s3://lake/files/joined.parquet", options)
    assert pq.read_table(within, filesystem=filesystem).equals(job.to_arrow())
