"""What crosses a boundary: references between steps, and the names of columns.

Every class is a frozen, JSON-serializable *reference*: it says where something is and which bytes it must
have, never the thing itself. Steps take and return these; XCom, asset events and MLflow tags carry them.
Times are UTC with microseconds.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

USER_ID = "user_id"
ITEM_ID = "item_id"
EVENT_ID = "event_id"
EVENT_TIMESTAMP = "event_timestamp"
INGESTED_AT = "ingested_at"
KNOWN_AT = "known_at"

EVENTS = "events"
ITEMS = "items"
USERS = "users"
QUARANTINE = "quarantine"
RAW_TABLES = (EVENTS, ITEMS, USERS)
SERVED = "served"
"""How the partitions of served events begin: `served:<log id>:<log>:<number>`."""


def partition_of(log_id: str, name: str, number: int) -> str:
    """Return the name of the partition that a batch of served events becomes."""
    return f"{SERVED}:{log_id}:{name}:{number}"


def is_served(partition: str) -> bool:
    """Return whether a partition is a batch of served events."""
    return partition.startswith(f"{SERVED}:")


RETRIEVAL_MODEL = "retrieval"
RANKING_MODEL = "ranking"
RECOMMENDER = "recommender"
CHAMPION = "champion"
CHALLENGER = "challenger"


def _as_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone; expected UTC, such as 2025-01-02T00:00:00Z")
    return moment.astimezone(UTC)


UtcDatetime = Annotated[datetime, AfterValidator(_as_utc)]


class Ref(BaseModel):
    """A frozen, strict value that serializes to JSON; base of everything that crosses a boundary."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RawPartition(Ref):
    """One raw partition, read from a source and staged unchanged as Parquet, not yet validated."""

    dataset: str
    partition: str = Field(description="`all`; `START/END`: arrival dates, half-open; or a batch of served events")
    uri: str = Field(description="folder with events.parquet, items.parquet, users.parquet")
    num_rows: dict[str, int] = Field(description="table -> rows")


class ValidatedPartition(Ref):
    """A partition after validation: accepted rows, quarantined rows with their rule, and the report."""

    dataset: str
    partition: str
    uri: str = Field(description="folder with one Parquet file a table, accepted rows only")
    quarantine_uri: str
    docs_uri: str = Field(description="first page of the report, which links to the Data Docs")
    num_accepted: dict[str, int]
    num_quarantined: dict[str, int] = Field(description="rule -> rows")
    drift: tuple[str, ...] = Field((), description="columns unlike the contract's that were accepted or converted")


class IngestedPartition(Ref):
    """A partition that is in the lake: the table versions after it, and what it added."""

    dataset: str
    partition: str
    versions: dict[str, int] = Field(description="lake table -> Delta version")
    num_appended: dict[str, int] = Field(description="table -> rows added now; 0 when it was there already")


class EventBatch(Ref):
    """Served events that are on their way into the lake: everything one log took in since the batch before."""

    log_id: str = Field(description="which place the log is in; numbers count within it")
    name: str = Field(description="log: a data set, or `unassigned`")
    number: int = Field(description="1, 2, 3, ... of a log")
    until: UtcDatetime = Field(description="every event that arrived before it is in this batch or an earlier one")
    parts: tuple[str, ...] = Field(description="what it consists of: names of files, or first and last id")

    @property
    def partition(self) -> str:
        """Name of the partition it becomes."""
        return partition_of(self.log_id, self.name, self.number)


class Drain(Ref):
    """A batch of served events, staged as a raw partition; both None when no event waits."""

    batch: EventBatch | None
    raw: RawPartition | None


class Snapshot(Ref):
    """`as_of` plus the lake table versions it fixes. Everything downstream names its snapshot."""

    dataset: str
    snapshot_id: str = Field(description="digest of as_of and versions")
    as_of: UtcDatetime
    versions: dict[str, int] = Field(description="lake table -> Delta version")


class FeatureSet(Ref):
    """Feature tables computed from a snapshot and, after materialization, present in the online store."""

    snapshot: Snapshot
    versions: dict[str, int] = Field(description="feature view -> Delta version of its table")
    num_rows: dict[str, int]
    num_online: dict[str, int] = Field(default_factory=dict, description="feature view -> entities online")


class FeatureExport(Ref):
    """The feature rows of one window as files: one Parquet file a view, in order of key and time."""

    features: FeatureSet
    start: UtcDatetime
    end: UtcDatetime = Field(description="exclusive")
    uri: str
    digest: str = Field(description="SHA-256 of the folder: equal rows give equal files")
    num_rows: dict[str, int]


class FeatureCatalogue(Ref):
    """The page of all declared features at one snapshot, and the same as JSON."""

    features: FeatureSet
    uri: str = Field(description="folder with `report.html` and `catalogue.json`")
    page: str = Field(description="the data set's newest page, at an address that stays")
    num_features: int
    num_models: int = Field(description="model versions whose features were looked at")


class TrainingSet(Ref):
    """Labels joined point-in-time to features at one snapshot; written once.

    The folder holds `train.parquet`, `validation.parquet` and `test.parquet`, split by label time at
    `validation_start` and `test_start`: one row a label, in order of (event_timestamp, event_id).
    """

    features: FeatureSet
    uri: str
    fingerprint: str = Field(description="SHA-256 over the rows of all three files")
    feature_service: str
    validation_start: UtcDatetime
    test_start: UtcDatetime
    num_rows: dict[str, int] = Field(description="train, validation, test -> rows")


class RankingSet(Ref):
    """(query, candidate) pairs with point-in-time features of both, for the ranking model.

    The folder holds `train.parquet` and `validation.parquet`; `query_id` groups the candidates of one query.
    """

    training_set: TrainingSet
    retrieval: "ModelVersion"
    uri: str
    fingerprint: str
    feature_service: str
    num_rows: dict[str, int]


class ParityFeature(Ref):
    """For how many requests serving used another value of a feature than the transformations give."""

    name: str
    num_different: int
    example: str = ""


class ParityReport(Ref):
    """Features that serving used beside those computed offline for the same moments."""

    dataset: str
    as_of: UtcDatetime
    num_compared: int
    num_waiting: int = Field(description="newer requests, whose events are not all in the lake yet")
    num_ambiguous: int = Field(
        description="compared ones with several events too new to tell which had arrived: features of events not told"
    )
    features: tuple[ParityFeature, ...]
    uri: str = Field(description="folder with report.json and report.html")

    def share(self, feature: ParityFeature) -> float:
        """Return for which share of the requests a feature differs."""
        return feature.num_different / self.num_compared if self.num_compared else 0.0

    @property
    def worst_share(self) -> float:
        """The largest share of any feature."""
        return max(map(self.share, self.features), default=0.0)


class ModelVersion(Ref):
    """A registered version in MLflow."""

    name: str
    version: str
    run_id: str
    dataset: str
    digest: str = Field(description="SHA-256 of the bundle folder: see stores.artifacts.folder_digest")
    metrics: dict[str, float] = Field(default_factory=dict)


class Evaluation(Ref):
    """Holdout metrics of a (retrieval, ranking) pair beside its baselines."""

    training_set: TrainingSet
    retrieval: ModelVersion
    ranking: ModelVersion
    uri: str = Field(description="folder with report.json, report.html and plots")
    metrics: dict[str, dict[str, float]] = Field(description="system -> metric -> value, such as ndcg_at_10")
    differences: dict[str, dict[str, dict[str, float]]] = Field(
        default_factory=dict,
        description="metric -> system -> how far the recommender is above it: models.significance.Difference",
    )


class ModelComparison(Ref):
    """Models that were evaluated on one holdout, side by side."""

    dataset: str
    holdout: str = Field(description="digest of users, items, what was seen and what is relevant: equal for all")
    metric: str
    reference: str = Field(description="what every other is held against")
    values: dict[str, float] = Field(description="line -> the metric")
    uri: str = Field(description="folder with report.json, report.html and plots")
    run_id: str = Field(description="the comparison's own run in MLflow")


class Search(Ref):
    """A study: trials of one model's settings on one training set, in a storage that several processes share."""

    study: str
    dataset: str
    model: str
    metric: str
    num_trials: int
    training_set: TrainingSet
    run_id: str


class SearchResult(Ref):
    """What a search has found so far; `settings` is dotted key -> value of the best trial."""

    study: str
    dataset: str
    model: str
    metric: str
    value: float
    settings: dict[str, Any]
    num_trials: int
    num_ended: dict[str, int]
    uri: str
    config: str
    run_id: str


class Removed(Ref):
    """What was removed of a user from one place."""

    place: str
    unit: str = Field(description="what is counted: rows, files, folders, values, records")
    num: int


class Remainder(Ref):
    """A place that still has something of a user."""

    place: str
    num: int = Field(description="how often, in the place's own unit")
    remedy: str = Field("", description="what to do where forgetting cannot; empty where it should have")


class Forgetting(Ref):
    """What was removed of a user, and what only people can remove. It names the user by a keyed digest."""

    dataset: str
    user: str = Field(description="HMAC-SHA256 of the id: see stores.forgotten")
    removed: tuple[Removed, ...]
    remains: tuple[Remainder, ...] = Field(description="each with its remedy")
    versions: dict[str, int] = Field(description="lake table -> Delta version, after")
    uri: str = Field(description="folder with report.json and report.html")


class UserSearch(Ref):
    """Where a user was looked for and found."""

    dataset: str
    suppressed: bool = Field(description="whether the list of the forgotten has the user, so that nothing new is kept")
    num_places: int
    found: tuple[Remainder, ...] = Field(description="forgetting removes these")
    remains: tuple[Remainder, ...] = Field(description="only people can: each with its remedy")


class LeakageFinding(Ref):
    """One way in which a training set, or a model, saw what it must not have seen."""

    feature: str = Field(description="feature, column or vocabulary")
    problem: str
    example: str = Field(description="a row to look at")


class LeakageCheck(Ref):
    """What one check asked, on how much, and what it found."""

    name: str
    question: str
    num_checked: int
    findings: tuple[LeakageFinding, ...] = ()
    note: str = ""
    figures: dict[str, float] = Field(default_factory=dict)


class LeakageReport(Ref):
    """Whether a training set, and the model made from it, knew only the past."""

    dataset: str
    snapshot_id: str
    training_set: str = Field(description="fingerprint")
    retrieval_version: str | None = Field(description="version whose vocabularies and normalizers were checked")
    ranking_version: str | None = Field(None, description="the same, of the ranking model")
    uri: str = Field(description="folder with report.json and report.html")
    checks: tuple[LeakageCheck, ...]

    @property
    def num_findings(self) -> int:
        """How many findings there are; 0 is clean."""
        return sum(len(check.findings) for check in self.checks)


class FeatureCheck(Ref):
    """Whether the declared features still serve the champion."""

    champion_version: str | None
    problems: tuple[str, ...] = Field(description="one sentence for each thing that would break")


class IndexManifest(Ref):
    """A nearest-neighbour index over one item corpus, built from one retrieval version."""

    retrieval: ModelVersion
    kind: Literal["scann", "brute_force", "item_to_item"]
    uri: str
    digest: str
    num_items: int
    embedding_dim: int
    recall: dict[str, float] = Field(description="recall_at_k against exact search on real queries")


class Release(Ref):
    """A registered `recommender`: query tower, ranker, index and item features that can only move together."""

    model: ModelVersion
    retrieval: ModelVersion
    ranking: ModelVersion
    index: IndexManifest
    snapshot: Snapshot
    metrics: dict[str, float]
    differences: dict[str, dict[str, dict[str, float]]] = Field(
        default_factory=dict, description="metric -> system -> how far this release is above it on the same users"
    )


class Comparison(Ref):
    """Whether a release may become champion, and the figures that decided it."""

    release: Release
    champion_version: str | None = Field(description="version behind the alias when compared; None if there was none")
    accepted: bool
    reason: str
    figures: dict[str, float] = Field(default_factory=dict, description="the promotion metric of each system compared")


class Promotion(Ref):
    """The outcome of promoting a release."""

    release: Release
    previous_version: str | None
    promoted: bool
    reason: str
    serving_version: str | None = None


RankingSet.model_rebuild()
