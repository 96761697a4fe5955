"""What one run of a contender measured: every metric, and the sums of users it is made of."""

from collections.abc import Iterator, Mapping

from pipelines.models.significance import PerUser


class Measures(Mapping[str, float]):
    """Metric -> value.

    Attributes:
        per_user: metric -> its sums a user, in an order that is the same for every contender of a task.
    """

    def __init__(self, per_user: Mapping[str, PerUser]) -> None:
        self.per_user = dict(per_user)
        self._values = {name: sample.value for name, sample in self.per_user.items()}

    def __getitem__(self, metric: str) -> float:
        """Value over all users."""
        return self._values[metric]

    def __iter__(self) -> Iterator[str]:
        """Names of the metrics."""
        return iter(self._values)

    def __len__(self) -> int:
        """How many metrics there are."""
        return len(self._values)
