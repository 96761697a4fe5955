"""The mapping file of a csv or parquet source: which file and column is what. See `configs/mapping.example.yaml`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from pipelines.config import Section
from pipelines.errors import ConfigError

TimeUnit = Literal["s", "ms", "us", "ns"]


class FileMapping(Section):
    """What the three tables' mappings share."""

    file: str = Field(description="file name, or a pattern such as events/*.parquet, in the source's folder")
    columns: dict[str, str] = Field(description="Tandem's column -> the file's column")
    ignore: list[str] = Field(default_factory=list, description="columns of the file to leave alone; `*` is all")
    delimiter: str = Field(",", min_length=1, max_length=1, description="csv only")
    encoding: Literal["utf-8", "latin-1", "utf-16"] = Field("utf-8", description="csv only")
    timestamp_unit: TimeUnit | None = Field(None, description="times are numbers since 1970 in this unit")
    timestamp_format: str | None = Field(None, description="times are text of this strptime format")

    @model_validator(mode="after")
    def _one_way_to_read_times(self) -> "FileMapping":
        if self.timestamp_unit and self.timestamp_format:
            raise ValueError("timestamp_unit and timestamp_format exclude each other")
        return self

    def _check(self, legal: tuple[str, ...], required: tuple[str, ...]) -> None:
        unknown = [name for name in self.columns if name not in legal]
        missing = [name for name in required if name not in self.columns]
        if unknown or missing:
            told = [f"{', '.join(unknown)} is not a column of Tandem's"] if unknown else []
            told += [f"{', '.join(missing)} must be mapped"] if missing else []
            raise ValueError(f"columns: {'; '.join(told)} (legal: {', '.join(legal)})")


class EventsMapping(FileMapping):
    """Where events are. Unmapped: `event_id` is made of row and ids, `ingested_at` equals `event_timestamp`."""

    event_type: str = Field("event", description="type of every event when no column has it")

    @model_validator(mode="after")
    def _columns_are_legal(self) -> "EventsMapping":
        optional = ("event_id", "event_type", "value", "ingested_at", "session_id", "device")
        required = ("user_id", "item_id", "event_timestamp")
        self._check((*required, *optional), required)
        return self


class ItemsMapping(FileMapping):
    """Where items are. Unmapped: `title` is the id, `updated_at` the first event's time."""

    categories_separator: str = Field("|", min_length=1, description="between categories in one text column")

    @model_validator(mode="after")
    def _columns_are_legal(self) -> "ItemsMapping":
        self._check(("item_id", "title", "text", "categories", "updated_at"), ("item_id",))
        return self


class UsersMapping(FileMapping):
    """Where users are. Unmapped: `updated_at` is the first event's time."""

    attributes: dict[str, str] = Field(default_factory=dict, description="attribute name -> the file's column")

    @model_validator(mode="after")
    def _columns_are_legal(self) -> "UsersMapping":
        self._check(("user_id", "updated_at"), ("user_id",))
        return self


class SourceMapping(Section):
    """The whole file. Without `items` or `users` those are made of the ids in the events."""

    events: EventsMapping
    items: ItemsMapping | None = None
    users: UsersMapping | None = None


def load_mapping(path: Path | None) -> SourceMapping:
    """Return the mapping in a YAML file.

    Raises:
        ConfigError: there is no file, it is not YAML, or a key or column name is not legal.
    """
    import yaml

    if path is None:
        raise ConfigError("a csv or parquet source needs source.mapping; copy configs/mapping.example.yaml and edit it")
    try:
        values = yaml.safe_load(path.read_text())
        return SourceMapping.model_validate(values)
    except OSError as error:
        raise ConfigError(f"mapping file {path} cannot be read ({error}); copy configs/mapping.example.yaml") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"mapping file {path} is not YAML: {error}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"mapping file {path}: {problems}. See configs/mapping.example.yaml") from error
