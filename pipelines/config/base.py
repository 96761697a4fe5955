"""What every section of the configuration is, and where the project is."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

REPOSITORY = Path(__file__).resolve().parent.parent.parent
DEFAULT_HOME = REPOSITORY / ".tandem"


class Section(BaseModel):
    """A frozen part of the configuration; a misspelt key is refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")
