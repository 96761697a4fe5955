"""What every raw source offers, whatever its files look like."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.config import SourceConfig
from pipelines.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

ALL = "all"


@dataclass(frozen=True)
class RawTables:
    """One partition as streams of Arrow batches, with Tandem's column names.

    A column has its type of `pipelines.data.schemas` or is text that validation converts: a source never drops
    or repairs a row, so that nothing is lost before the rules have seen it.
    """

    events: "pa.RecordBatchReader"
    items: "pa.RecordBatchReader"
    users: "pa.RecordBatchReader"


class Source(Protocol):
    """A place raw rows come from."""

    def read(self, partition: str) -> RawTables:
        """Return the events that arrived in `partition`, and all items and users known before its end.

        Raises:
            SourceError: the source is missing, empty or malformed.
            ConfigError: `partition` is malformed, or a mapping names a column that is not there.
        """

    def fingerprint(self) -> Mapping[str, Any]:
        """Return JSON-serializable values that change whenever the rows could: equal ones mean equal rows."""


def parse_partition(partition: str) -> tuple[datetime, datetime] | None:
    """Return the half-open arrival window of `START/END`, or None for `all`.

    Raises:
        ConfigError: it is neither, or START is not before END.
    """
    if partition == ALL:
        return None
    try:
        start, end = (_moment(text) for text in partition.split("/"))
    except ValueError as error:
        raise ConfigError(
            f"partition {partition!r} is not `all` or START/END; expected ISO dates such as 2025-06-01/2025-06-08"
        ) from error
    if start >= end:
        raise ConfigError(f"partition {partition!r} is empty: START must be before END (END is not part of it)")
    return start, end


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text.strip())
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def open_source(config: SourceConfig, *, seed: int, home: Path) -> Source:
    """Return the source that `config` describes; readers are imported only when asked for.

    Args:
        config: the `source` section.
        seed: decides the rows of the synthetic source; others ignore it.
        home: downloads go to `home/downloads`.

    Raises:
        ConfigError: the section contradicts itself, such as a csv source without a folder.
    """
    if config.kind == "synthetic":
        from pipelines.sources.synthetic import SyntheticSource

        return SyntheticSource(config.synthetic, seed=seed)
    if config.kind == "movielens":
        from pipelines.sources.movielens import open_movielens

        return open_movielens(config, home=home)
    from pipelines.sources.mapped import MappedSource

    return MappedSource.open(config)
