"""Configuration: every section and value there is, frozen. `pipelines/settings.py` reads them."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

REPOSITORY = Path(__file__).resolve().parent.parent
DEFAULT_HOME = REPOSITORY / ".tandem"
MOVIELENS_SIZES = ("100k", "1m", "20m", "32m")


class Section(BaseModel):
    """A frozen part of the configuration; a misspelt key is refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SyntheticConfig(Section):
    """The built-in generator. Only these values and the seed decide its rows."""

    num_events: int = Field(250_000, ge=100, description="events made")
    num_users: int = Field(5_000, ge=10, description="users")
    num_items: int = Field(2_000, ge=10, description="items")
    num_days: int = Field(90, ge=4, description="days the events span")
    end: str = Field("2025-06-30T00:00:00Z", description="the moment after the last event")


class SourceConfig(Section):
    """Where raw rows come from."""

    kind: Literal["synthetic", "movielens", "csv", "parquet"] = Field(
        "synthetic", description="where raw rows come from"
    )
    size: Literal["100k", "1m", "20m", "32m"] | None = Field(
        None, description="MovieLens size to download without `path`"
    )
    path: Path | None = Field(None, description="folder (MovieLens) or folder of the mapped files (csv, parquet)")
    mapping: Path | None = Field(None, description="YAML file that maps csv or parquet columns to Tandem's")
    delay_seconds: float = Field(0.0, ge=0, description="how long after its event a row of this source becomes known")
    synthetic: SyntheticConfig = SyntheticConfig()


class ValidationConfig(Section):
    """When a raw partition is stopped rather than cleaned."""

    max_quarantined_share: float = Field(
        0.05, ge=0, le=1, description="share of rows set aside above which the partition is refused"
    )
    min_events: int = Field(1, ge=1, description="events a partition must have")
    max_volume_ratio: float = Field(20.0, gt=1, description="events a day against the lake's mean, either way")
    max_value_shift: float = Field(1.0, gt=0, description="mean value against the lake's, in its standard deviations")
    min_value: float = Field(-1e12, description="smallest legal `value`")
    max_value: float = Field(1e12, description="largest legal `value`")
    max_report_rows: int = Field(20, ge=1, description="examples of a broken rule shown in the report")
    min_served_events: int = Field(
        1_000, ge=1, description="a smaller batch of served events is not refused for its share of quarantined rows"
    )
    new_columns: Literal["accept", "quarantine", "stop"] = Field(
        "accept", description="a raw column of no contract: leave it out, set its rows aside, or refuse the partition"
    )
    missing_columns: Literal["accept", "quarantine", "stop"] = Field(
        "stop", description="an optional column is gone: take it as empty, set the rows aside, or refuse the partition"
    )
    retyped_columns: Literal["coerce", "quarantine", "stop"] = Field(
        "coerce", description="a column of another type: convert it, set its rows aside, or refuse the partition"
    )


class SparkConfig(Section):
    """The Spark that `features.engine: spark` computes on: in this process, or a cluster."""

    master: str = Field("local[*]", description="`local[*]`, `spark://host:7077`, `yarn`, `k8s://https://host:port`")
    driver_memory: str = Field("2g", description="heap of the driver, which in local mode does all the work")
    shuffle_partitions: int = Field(
        200, ge=1, description="tasks of a join at most; small ones are put together: about one for 128 MB of rows"
    )
    staging_uri: str = Field(
        "", description="folder or prefix that driver and executors share, for joined rows; empty: below home"
    )
    conf: dict[str, str | int | float | bool] = Field(
        {}, description="any other Spark property, such as `{spark.executor.memory: 8g}`"
    )

    @model_validator(mode="after")
    def _shared(self) -> Self:
        if not self.master.startswith("local") and not self.staging_uri:
            raise ValueError(
                f"master {self.master!r} has executors elsewhere; expected staging_uri, a folder or prefix that they "
                "share with this machine"
            )
        return self


class FeatureConfig(Section):
    """How features are computed."""

    engine: Literal["duckdb", "spark"] = Field(
        "duckdb", description="where features are computed and joined, and neighbours found; `TANDEM_ENGINE` for short"
    )
    spark: SparkConfig = SparkConfig()

    history_length: int = Field(20, ge=1, le=200, description="recent items kept in order")
    seen_length: int = Field(5_000, ge=1, description="items remembered as seen, newest first")
    window_length: int = Field(
        2_000, ge=1, description="events a user of the last 30 days whose time serving knows, to slide windows on"
    )
    taste_length: int = Field(10, ge=1, description="categories kept in a user's taste")
    memory_limit: str = Field("2GB", description="DuckDB's budget; it spills to disk above")
    threads: int = Field(2, ge=1, description="DuckDB's threads")
    lookback_days: float = Field(
        2.0, ge=0, description="days before the last window that are brought online again, for rows that came late"
    )


class SplitConfig(Section):
    """Global temporal split of the labels, by share of events in time order."""

    validation_share: float = Field(
        0.05, gt=0, lt=0.5, description="share of labels, in time order, before the test part"
    )
    test_share: float = Field(0.10, gt=0, lt=0.5, description="newest share of labels")
    max_train_rows: int = Field(2_000_000, ge=100, description="newest labels kept for training")


class LeakageConfig(Section):
    """The proof that a training set knew only the past."""

    num_rows: int = Field(200, ge=3, description="labels whose features are worked out again from raw events")
    num_probed: int = Field(6_000, ge=100, description="labels on which each feature alone is tried as a predictor")
    max_future_events: int = Field(8_000, ge=10, description="events of the sample whose future is changed")
    max_auc: float = Field(0.95, gt=0.5, le=1, description="AUC of one feature alone above which it must be a leak")


class RetrievalConfig(Section):
    """The retrieval model: which one, and the two-tower model's own settings."""

    model: str = Field("two_tower", description="name in `tandem models`")
    preset: str | None = Field(None, description="settings that come with a model, such as quality; not two_tower")
    settings: dict[str, Any] = Field({}, description="settings of the model, over its preset; two_tower's are below")
    segment: str | None = Field(
        None, description="attribute of users whose values are segments, such as country; for popularity by segment"
    )
    embedding_dim: int = Field(64, ge=4, description="length of query and item vectors")
    hidden_units: tuple[int, ...] = Field((128,), description="layers of each tower")
    feature_dim: int = Field(16, ge=1, description="length of user, attribute, category, device and word embeddings")
    num_oov_buckets: int = Field(8, ge=1, description="buckets for ids unknown at training")
    temperature: float = Field(0.07, gt=0, description="of the softmax")
    learning_rate: float = Field(0.003, gt=0, description="Adam's step at the start")
    batch_size: int = Field(1024, ge=8, description="also the number of in-batch negatives")
    epochs: int = Field(4, ge=1, description="at most")
    max_examples: int = Field(2_000_000, ge=1, description="labels seen over all epochs; at least one epoch is run")
    patience: int = Field(2, ge=1, description="epochs without gain before training ends")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of units left out while training")
    user_dropout: float = Field(0.3, ge=0, lt=1, description="share of user ids replaced by an unseen one in training")
    item_dropout: float = Field(0.05, ge=0, lt=1, description="share of item ids replaced by an unseen one in training")
    earlier_share: float = Field(
        0.3, ge=0, le=1, description="share of labels seen from an earlier state of their user"
    )
    earlier_longest: int = Field(20, ge=0, description="how many labels back such a state may be")
    num_periods: int = Field(20, ge=1, description="stretches of time; the negatives of a label are of its own")
    num_hard_negatives: int = Field(0, ge=0, description="highest negatives learnt from, none its user's; 0 is all")
    num_sampled_negatives: int = Field(
        0, ge=0, description="negatives a batch drawn uniformly from items known by then"
    )
    log_q: Literal["counts", "stream"] = Field("counts", description="how often items are drawn: counted, or streamed")
    frequency_rate: float = Field(
        0.01, gt=0, lt=1, description="of a streamed frequency: weight of an item's newest gap"
    )
    num_bins: int | None = Field(None, ge=2, description="quantile bins that numbers go in as; none standardizes them")
    scene_units: tuple[int, ...] = Field((), description="layers of a third tower, of device and time; none by default")
    max_text_tokens: int = Field(8, ge=0, description="words of title and text used; 0 is none")
    item_vectors: Path | None = Field(
        None, description="Parquet file with item_id and a vector each, such as embeddings of text or images; two_tower"
    )
    vector_column: str = Field("vector", description="column of `item_vectors` with lists of numbers of one length")
    content_vectors: bool = Field(False, description="models other than two_tower: place new items by their content")
    min_positive_value: float | None = Field(
        None, description="labels below this value are not positives; None keeps all"
    )


class TrainingConfig(Section):
    """What models are trained on; device and number of devices change results by rounding alone."""

    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="`auto` takes an accelerator where there is one")
    num_devices: int = Field(1, ge=1, description="that take parts of every batch; two-tower and next-item models")
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "float32", description="of the dense layers; embeddings, logits and softmax are always float32"
    )
    resident_mb: int = Field(1_024, ge=0, description="encoded labels up to this size stay on the device")


DEFAULT_TRAINING = TrainingConfig()


class RankingConfig(Section):
    """The ranking model: which one, what it learns by, and the settings that all of them share."""

    model: str = Field("cross", description="name in `tandem models`")
    loss: str = Field("logistic", description="what it learns by; a name in `tandem models`")
    settings: dict[str, Any] = Field({}, description="settings of the model, over its defaults")
    num_queries: int = Field(12_000, ge=10, description="queries the model is trained on")
    num_candidates: int = Field(24, ge=2, description="candidates a training query")
    retrieved_share: float = Field(
        0.7, ge=0, le=1, description="share of candidates taken from retrieval; rest by popularity"
    )
    num_retrieved: int = Field(
        200, ge=2, description="length of the list the candidates are sampled from, as in serving"
    )
    max_text_tokens: int = Field(8, ge=0, description="words of title and text used; 0 is none")
    num_oov_buckets: int = Field(8, ge=1, description="buckets for ids unknown at training")
    embedding_dim: int = Field(16, ge=2, description="length of categorical embeddings")
    hidden_units: tuple[int, ...] = Field((64, 32), description="dense layers; in multi_task those of each expert")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of units left out while training")
    item_dropout: float = Field(0.1, ge=0, lt=1, description="share of item ids replaced by an unseen one in training")
    value_weight: float = Field(0.1, ge=0, description="weight of the expected value's loss")
    learning_rate: float = Field(0.006, gt=0, description="Adam's step at the start")
    batch_size: int = Field(4096, ge=8, description="pairs a step")
    epochs: int = Field(4, ge=1, description="at most")
    patience: int = Field(2, ge=1, description="epochs without gain before training ends")


class SearchConfig(Section):
    """The search for a model's best settings on the validation window: `tandem search`."""

    prune: bool = Field(True, description="end a trial early that is worse than half of the others at the same epoch")
    num_unpruned: int = Field(5, ge=1, description="trials that must be complete before any is ended early")
    prune_from_epoch: int = Field(2, ge=1, description="first epoch after which a trial may be ended")
    max_trials: int = Field(500, ge=1, le=5_000, description="trials that may be asked for")


class ColdStartConfig(Section):
    """Goals for those a recommender knows least, as relative gain over popularity on `evaluation.metric`."""

    sparse_events: int = Field(5, ge=1, description="users with at most so many events are sparse")
    new_users: float = Field(0.0, description="gain wanted for users without history; 0: as good as popularity")
    sparse_users: float = Field(0.05, description="gain wanted for users with few events")
    new_items: float = Field(0.0, description="gain wanted on items first used after the training window")


class EvaluationConfig(Section):
    """The holdout protocol: full ranking over the corpus, seen items removed, ties counted worst case."""

    ks: tuple[int, ...] = Field((5, 10, 20, 50), description="cut-offs of recall, NDCG and the rest")
    max_users: int = Field(3_000, ge=1, description="users measured; more are sampled")
    metric: str = Field("ndcg_at_10", description="the metric that is compared and gets an interval")
    num_candidates: int = Field(200, ge=1, description="retrieved before ranking, as in serving")
    baselines: tuple[str, ...] = Field(
        ("random", "recent_history", "transitions", "ease"),
        description="models of `tandem models` that stand beside in every report",
    )
    baseline_max_items: int = Field(
        10_000, ge=0, description="corpora larger than this are compared with popularity alone; EASE inverts a matrix"
    )
    cold_start: ColdStartConfig = ColdStartConfig()


class IndexConfig(Section):
    """The nearest-neighbour index."""

    brute_force_below: int = Field(5_000, ge=1, description="corpora smaller than this are searched exactly")
    num_queries: int = Field(1_000, ge=1, description="real queries on which the index is compared with exact search")
    recall_k: int = Field(50, ge=1, description="neighbours compared")
    min_recall: float = Field(0.95, ge=0, le=1, description="floor below which the index fails")


class PromotionConfig(Section):
    """When a release may become champion."""

    metric: str = Field("ndcg_at_10", description="of the holdout")
    max_regression: float = Field(0.02, ge=0, description="relative loss against the champion that is still promoted")
    min_lift_over_popularity: float = Field(0.0, description="relative gain over popularity that is required")
    serving_timeout_seconds: float = Field(
        60.0, gt=0, description="how long serving may take to answer from the release"
    )


class RulesConfig(Section):
    """Business rules a release carries."""

    exclude_seen: bool = Field(True, description="leave out what the user has seen")
    max_per_category: int | None = Field(None, ge=1, description="items of one category in an answer; none is no limit")
    blocked_items: tuple[str, ...] = Field((), description="items never shown")


class DrainConfig(Section):
    """How served events come into the lake."""

    keep_hours: float = Field(
        24.0, ge=1, description="how long drained records stay in the log, for serving processes that start"
    )
    keep_runs_hours: float = Field(
        2.0, ge=0, description="how long staged rows and reports of drained batches are kept; a report is about 4 MB"
    )


class ParityConfig(Section):
    """When features that serving used differ too much from those computed offline for the same moment."""

    max_requests: int = Field(2_000, ge=1, description="requests recomputed; of more, a sample by seed")
    max_days: float = Field(2.0, gt=0, description="how far back requests are looked at")
    lag_seconds: float = Field(
        2.0, ge=0, description="an event this new at the request may be in its features or not: the speed layer's goal"
    )
    max_mismatch_share: float = Field(
        0.02, ge=0, le=1, description="share of requests, for any one feature, above which the check fails"
    )
    min_requests: int = Field(20, ge=1, description="with fewer requests to compare the check reports and never fails")


class PortsConfig(Section):
    """Where the interfaces listen on this machine."""

    airflow: int = Field(8080, ge=1, le=65535, description="Airflow's interface")
    mlflow: int = Field(5000, ge=1, le=65535, description="MLflow's interface")
    serving: int = Field(8000, ge=1, le=65535, description="the serving component")
    feast: int = Field(8889, ge=1, le=65535, description="Feast's pages of the feature registry")


class ServicesConfig(Section):
    """Addresses of other components. Empty values mean the embedded profile's local ones."""

    mlflow_uri: str = Field("", description="tracking server; empty: the embedded one")
    serving_url: str = Field("", description="serving; empty: the embedded one")
    lake_uri: str = Field("", description="folder or object-store prefix; empty: below home")
    feature_store_yaml: str = Field("", description="feature_repo yaml of the profile; empty: embedded")
    served_log: Literal["files", "redis"] = Field(
        "files", description="where serving keeps events: files below home, or Redis at SERVED_REDIS"
    )
    search_storage: Literal["sqlite", "postgres"] = Field(
        "sqlite", description="where searches are kept: a file below home, or PostgreSQL at SEARCH_DATABASE"
    )


class Config(Section):
    """All of it."""

    home: Path = DEFAULT_HOME
    dataset: str = Field("", pattern=r"^[a-z0-9][a-z0-9-]*$|^$", description="namespace of lake, features and runs")
    seed: int = 7
    source: SourceConfig = SourceConfig()
    validation: ValidationConfig = ValidationConfig()
    features: FeatureConfig = FeatureConfig()
    split: SplitConfig = SplitConfig()
    leakage: LeakageConfig = LeakageConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    training: TrainingConfig = TrainingConfig()
    ranking: RankingConfig = RankingConfig()
    search: SearchConfig = SearchConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    index: IndexConfig = IndexConfig()
    promotion: PromotionConfig = PromotionConfig()
    drain: DrainConfig = DrainConfig()
    parity: ParityConfig = ParityConfig()
    rules: RulesConfig = RulesConfig()
    ports: PortsConfig = PortsConfig()
    services: ServicesConfig = ServicesConfig()

    @property
    def mlflow_uri(self) -> str:
        """Tracking server: the configured one, or the embedded server's address."""
        return self.services.mlflow_uri or f"http://127.0.0.1:{self.ports.mlflow}"

    @property
    def serving_url(self) -> str:
        """Serving component: the configured one, or the embedded one's address."""
        return self.services.serving_url or f"http://127.0.0.1:{self.ports.serving}"

    @property
    def lake_uri(self) -> str:
        """Root of this dataset's lake tables."""
        return f"{self.services.lake_uri or self.home / 'lake'}/{self.dataset}"
