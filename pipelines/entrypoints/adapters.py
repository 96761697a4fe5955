"""The adapters that steps are given, opened as a configuration says."""

from typing import Any

from pipelines.config import Config
from pipelines.stores.artifacts import LocalArtifacts

Json = dict[str, Any]


def as_json(reference: Any) -> Json:
    """Return a reference as plain JSON values."""
    return dict(reference.model_dump(mode="json"))


def open_artifacts(config: Config) -> LocalArtifacts:
    """Return the store of what steps wrote."""
    return LocalArtifacts(config.home / "runs")


def open_model_stores(config: Config) -> Json:
    """Return registry and artifacts, as the steps about models take them."""
    return {"registry": open_registry(config), "artifacts": open_artifacts(config)}


def open_served_log(config: Config, kind: str) -> Any:
    """Return the log of `kind` that serving shares with steps: events, requests or forgotten."""
    from pipelines.stores.served import open_served

    return open_served(config.services.served_log, kind, home=config.home)


def open_forgotten(config: Config) -> Any:
    """Return the list of the users who were forgotten."""
    from pipelines.stores.forgotten import ForgottenUsers

    return ForgottenUsers(open_served_log(config, "forgotten"))


def open_lake(config: Config) -> Any:
    """Return the data set's lake."""
    from pipelines.data.lake import Lake

    return Lake(config.lake_uri)


def open_feature_store(config: Config) -> Any:
    """Return the data set's feature store."""
    from pipelines.stores.feature_store import FeatureStore

    return FeatureStore.from_config(config)


def open_nearest(config: Config) -> Any:
    """Return what looks for similar users and items: Spark where features are computed by it, else this process."""
    if config.features.engine == "spark":
        from pipelines.stores.spark_neighbours import SparkNeighbours

        return SparkNeighbours(config.features.spark, config.home / "feast" / "spill")
    from pipelines.models.retrievers.similarity import nearest

    return nearest


def open_registry(config: Config) -> Any:
    """Return the model registry."""
    from pipelines.stores.registry import MlflowRegistry

    return MlflowRegistry(config.mlflow_uri, config.home / "mlflow" / "cache")
