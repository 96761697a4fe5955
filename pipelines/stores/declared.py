"""What `feature_repo` declares: which service has which features of which type, and how long rows are valid."""

from datetime import timedelta

import pyarrow as pa

from pipelines.features.schemas import STRINGS, TIMESTAMP

Types = dict[str, str]


def declared_services() -> dict[str, Types]:
    """Return feature service -> feature -> Arrow type, as the repository of this code declares them."""
    from feast import FeatureService

    from feature_repo.repository import declarations

    return {
        item.name: {
            field.name: arrow_type(field.dtype)
            for projection in item.feature_view_projections
            for field in projection.features
        }
        for item in declarations()
        if isinstance(item, FeatureService)
    }


def arrow_type(dtype: object) -> str:
    """Return the Arrow type of a declared one, as text."""
    from feast.types import Array, Float32, Float64, Int32, Int64, String, UnixTimestamp

    kinds = {
        Int32: pa.int32(),
        Int64: pa.int64(),
        Float32: pa.float32(),
        Float64: pa.float64(),
        String: pa.string(),
        UnixTimestamp: TIMESTAMP,
        Array(String): STRINGS,
        Array(Float32): pa.list_(pa.float32()),
        Array(Int64): pa.list_(pa.int64()),
    }
    return plain(kinds[dtype]) if dtype in kinds else str(dtype)


def plain(kind: pa.DataType) -> str:
    """Return a type as text, the same whatever a list's element is called."""
    return f"list<{kind.value_type}>" if pa.types.is_list(kind) else str(kind)


def declared_ttls() -> dict[str, timedelta]:
    """Return how long rows are valid, of the feature views that declare it."""
    from feast import FeatureView

    from feature_repo.repository import declarations

    return {view.name: view.ttl for view in declarations() if isinstance(view, FeatureView) and view.ttl}
