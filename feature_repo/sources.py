"""Where feature rows come from: the lake's feature tables, at the versions the offline store is pinned to."""

from feast import Field, FileSource, RequestSource
from feast.data_format import DeltaFormat
from feast.types import UnixTimestamp


def feature_table(name: str) -> FileSource:
    """Return the source of one feature table; its path is relative to the offline store's `lake_uri`."""
    return FileSource(
        name=name,
        path=f"features/{name}",
        file_format=DeltaFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )


request = RequestSource(name="request", schema=[Field(name="request_timestamp", dtype=UnixTimestamp)])
