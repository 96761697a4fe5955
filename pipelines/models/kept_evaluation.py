"""An evaluation as it was kept beside a model: the report, and the values of every user."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from pipelines.models.comparison import Contestant
from pipelines.models.evaluation_page import REPORT
from pipelines.models.per_user import PER_USER, Values, read_per_user

FILES = (REPORT, PER_USER)


class Told(Protocol):
    """What a run's page says of training."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Final values, costs among them."""

    @property
    def curves(self) -> Mapping[str, Sequence[float]]:
        """Metric -> a value an epoch."""


@dataclass(frozen=True)
class KeptEvaluation:
    """A report, the values of each user, and a digest of both."""

    report: Mapping[str, Any]
    per_user: Values
    digest: str

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read what `write_evaluation` wrote."""
        files = b"".join((folder / name).read_bytes() for name in FILES)
        return cls(cls.report_in(folder), read_per_user(folder / PER_USER), hashlib.sha256(files).hexdigest())

    @staticmethod
    def report_in(folder: Path) -> dict[str, Any]:
        """Return the report of a folder."""
        return dict(json.loads((folder / REPORT).read_text()))

    @property
    def question(self) -> str:
        """What was asked, in words."""
        return f"snapshot {self.report['snapshot']}, cut {self.report['cut']}, {self.report['num_users']} users"

    def contestant(self, system: str, name: str, told: Told | None = None) -> Contestant:
        """Return one system of the evaluation under a name, with what its run says of training."""
        return Contestant(
            name=name,
            figures=self.report["metrics"][system],
            slices={of: rows[system] for of, rows in self.report["slices"].items()},
            per_user=self.per_user[system],
            curves=told.curves if told else {},
            costs={of: value for of, value in told.metrics.items() if of.startswith("cost_")} if told else {},
        )
