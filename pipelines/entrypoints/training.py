"""From features to evaluated models."""

from pathlib import Path

from pipelines.contracts import FeatureSet, ModelVersion, RankingSet, TrainingSet
from pipelines.entrypoints.adapters import (
    Json,
    as_json,
    open_artifacts,
    open_feature_store,
    open_lake,
    open_model_stores,
    open_nearest,
    open_registry,
)
from pipelines.entrypoints.configuring import parse_moment, read_config


def build_training_set(config: str, features: Json) -> Json:
    """Join labels to the features known before them; returns a TrainingSet."""
    from pipelines.steps.build_training_set import build_training_set as step

    c = read_config(config)
    stores: Json = {"lake": open_lake(c), "store": open_feature_store(c), "artifacts": open_artifacts(c)}
    work: Json = {"config": c.features, "delay_seconds": c.source.delay_seconds, "scratch": c.home / "tmp"}
    return as_json(step(FeatureSet(**features), split=c.split, **stores, **work))


def rebuild_training_set(config: str, as_of: str, fingerprint: str, folder: str) -> Json:
    """Write a past training set into `folder` once more, byte for byte; returns its TrainingSet."""
    from pipelines.steps.rebuild_training_set import rebuild_training_set as step

    c = read_config(config)
    moment = parse_moment(as_of, "as_of")
    stores: Json = {"lake": open_lake(c), "store": open_feature_store(c)}
    work: Json = {"config": c.features, "scratch": c.home / "tmp"}
    return as_json(step(moment, fingerprint=fingerprint, folder=Path(folder), **stores, **work))


def list_training_sets(config: str) -> list[Json]:
    """Return every training set that was built for the dataset, by `as_of`."""
    from pipelines.data.ledger import training_sets

    return [as_json(entry.training_set) for entry in training_sets(open_lake(read_config(config)))]


def model_names() -> list[str]:
    """Return the names of all retrieval models; quick, for forms."""
    from pipelines.models.retrievers.catalogue import MODELS

    return list(MODELS)


def ranker_names() -> list[str]:
    """Return the names of all ranking models; quick, for forms."""
    from pipelines.models.rankers.catalogue import RANKERS

    return list(RANKERS)


def ranking_loss_names() -> list[str]:
    """Return the names of all that ranking models learn by; quick, for forms."""
    from pipelines.models.rankers.catalogue import LOSSES

    return list(LOSSES)


def list_models() -> list[Json]:
    """Return every model and ranking loss: kind, name, family, needs, good at, source, settings with defaults."""
    from pipelines.models.rankers.catalogue import listing as rankers
    from pipelines.models.retrievers.catalogue import listing as retrievers

    return [{"kind": "retrieval", **model} for model in retrievers()] + rankers()


def train_retrieval(config: str, training_set: Json) -> Json:
    """Train and register the retrieval model; returns a ModelVersion."""
    from pipelines.models.rankers.catalogue import chosen_ranker
    from pipelines.steps.train_retrieval import train_retrieval as step

    c = read_config(config)
    chosen_ranker(c.ranking)  # a misspelt one is refused here, not when retrieval has been trained
    stores = open_model_stores(c)
    work: Json = {"seed": c.seed, "checkpoints": c.home / "checkpoints", "nearest": open_nearest(c)}
    return as_json(step(TrainingSet(**training_set), config=c.retrieval, run=c.training, **work, **stores))


def check_leakage(config: str, training_set: Json, retrieval: Json) -> Json:
    """Prove that training set and model knew only the past; returns a LeakageReport, or fails naming the leak."""
    from pipelines.contracts import LeakageReport
    from pipelines.steps.check_leakage import require_clean

    return as_json(require_clean(LeakageReport(**report_leakage(config, training_set, retrieval))))


def report_leakage(config: str, training_set: Json, retrieval: Json | None) -> Json:
    """Run the leakage checks, on the rows alone without a model; returns a LeakageReport, whatever it found."""
    from pipelines.steps.check_leakage import check_leakage as step

    c = read_config(config)
    model = ModelVersion(**retrieval) if retrieval else None
    stores: Json = {
        "lake": open_lake(c),
        "artifacts": open_artifacts(c),
        "registry": open_registry(c) if model else None,
    }
    work: Json = {"delay_seconds": c.source.delay_seconds, "scratch": c.home / "tmp", "seed": c.seed}
    chosen: Json = {"config": c.leakage, "features": c.features, "min_positive_value": c.retrieval.min_positive_value}
    return as_json(step(TrainingSet(**training_set), model, **chosen, **stores, **work))


def check_ranking_leakage(config: str, ranking_set: Json, ranking: Json) -> Json:
    """Prove that the ranking model knew only the training window; returns a LeakageReport, or fails naming the leak."""
    from pipelines.contracts import LeakageReport
    from pipelines.steps.check_leakage import require_clean

    return as_json(require_clean(LeakageReport(**report_ranking_leakage(config, ranking_set, ranking))))


def report_ranking_leakage(config: str, ranking_set: Json, ranking: Json) -> Json:
    """Check what the ranking model was fitted on; returns a LeakageReport, whatever it found."""
    from pipelines.steps.check_ranking_leakage import check_ranking_leakage as step

    c = read_config(config)
    stores: Json = {"lake": open_lake(c), **open_model_stores(c)}
    work: Json = {"delay_seconds": c.source.delay_seconds, "scratch": c.home / "tmp", "seed": c.seed}
    chosen: Json = {"config": c.leakage, "features": c.features, "min_positive_value": c.retrieval.min_positive_value}
    return as_json(step(RankingSet(**ranking_set), ModelVersion(**ranking), **chosen, **stores, **work))


def build_ranking_set(config: str, training_set: Json, retrieval: Json) -> Json:
    """Retrieve candidates for logged queries and join their features; returns a RankingSet."""
    from pipelines.steps.build_ranking_set import build_ranking_set as step

    c = read_config(config)
    stores = {"feature_store": open_feature_store(c), **open_model_stores(c)}
    return as_json(
        step(TrainingSet(**training_set), ModelVersion(**retrieval), config=c.ranking, seed=c.seed, **stores)
    )


def train_ranking(config: str, ranking_set: Json) -> Json:
    """Train, calibrate and register the ranking model; returns a ModelVersion."""
    from pipelines.steps.train_ranking import train_ranking as step

    c = read_config(config)
    stores = open_model_stores(c)
    work: Json = {"seed": c.seed, "checkpoints": c.home / "checkpoints"}
    return as_json(step(RankingSet(**ranking_set), config=c.ranking, run=c.training, **work, **stores))


def evaluate_models(config: str, training_set: Json, retrieval: Json, ranking: Json) -> Json:
    """Measure the pair on the temporal holdout beside its baselines; returns an Evaluation."""
    from pipelines.steps.evaluate_models import evaluate_models as step

    c = read_config(config)
    refs = (TrainingSet(**training_set), ModelVersion(**retrieval), ModelVersion(**ranking))
    stores: Json = {"feature_store": open_feature_store(c), "lake": open_lake(c), **open_model_stores(c)}
    return as_json(step(*refs, config=c.evaluation, source=c.source, seed=c.seed, **stores))


def compare_models(
    config: str, names: list[str] | None = None, metric: str | None = None, reference: str | None = None
) -> Json:
    """Put evaluated models side by side, by default all of the newest one's holdout; returns a ModelComparison."""
    from pipelines.steps.compare_models import compare_models as step
    from pipelines.stores.runs import MlflowRuns

    c = read_config(config)
    stores: Json = {"runs": MlflowRuns(c.mlflow_uri), **open_model_stores(c)}
    chosen: Json = {"metric": metric or c.evaluation.metric, "reference": reference, "seed": c.seed}
    return as_json(step(names or [], dataset=c.dataset, **chosen, **stores))


def run_address(config: str, run_id: str) -> str:
    """Return the address of a run's page in MLflow."""
    from pipelines.stores.runs import MlflowRuns

    return MlflowRuns(read_config(config).mlflow_uri).address(run_id)
