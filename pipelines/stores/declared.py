"""What `feature_repo` declares: which service has which features of which type, and how long rows are valid."""

from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from pipelines.errors import ConfigError
from pipelines.features.schemas import STRINGS, TIMESTAMP

if TYPE_CHECKING:
    from feast import FeatureService

Types = dict[str, str]


def declared_services() -> dict[str, Types]:
    """Return feature service -> feature -> Arrow type, as the repository of this code declares them."""
    from feast import FeatureService

    from feature_repo.repository import declarations

    return {item.name: service_types(item) for item in declarations() if isinstance(item, FeatureService)}


def service_types(service: "FeatureService") -> Types:
    """Return feature -> Arrow type of a Feast feature service."""
    projections = service.feature_view_projections
    return {field.name: arrow_type(field.dtype) for projection in projections for field in projection.features}


def declared_features(service: str) -> Types:
    """Return feature -> Arrow type of a declared service.

    Raises:
        ConfigError: no service has the name.
    """
    services = declared_services()
    if service not in services:
        raise ConfigError(
            f"feature service {service!r} is not declared; expected one of {', '.join(sorted(services))}. Declare it "
            "in feature_repo/services.py and list it in feature_repo/repository.py, as docs/features.md says"
        )
    return services[service]


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
