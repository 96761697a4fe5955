"""References to partitions, the lake, features, and the sets that models learn from."""

from pydantic import Field

from pipelines.contracts.base import Ref, UtcDatetime
from pipelines.contracts.names import partition_of


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
