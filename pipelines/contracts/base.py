"""What every reference is."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


def _as_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone; expected UTC, such as 2025-01-02T00:00:00Z")
    return moment.astimezone(UTC)


UtcDatetime = Annotated[datetime, AfterValidator(_as_utc)]


class Ref(BaseModel):
    """A frozen, strict value that serializes to JSON; base of everything that crosses a boundary."""

    model_config = ConfigDict(frozen=True, extra="forbid")
