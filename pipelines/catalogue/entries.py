"""What the catalogue says of one feature: what it is, how fresh, how distributed, and who reads it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.catalogue.definitions import Definition, Reader
from pipelines.catalogue.distributions import Distribution
from pipelines.stores.freshness import ViewFreshness


@dataclass(frozen=True)
class Entry:
    """One feature.

    Attributes:
        definition: as it is declared.
        freshness: the policy of its view; None where the view has none.
        distribution: of its values; None of a feature that is computed for each request, before there are labels.
        readers: model versions that were trained with it.
    """

    definition: Definition
    freshness: ViewFreshness | None
    distribution: Distribution | None
    readers: tuple[Reader, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            **asdict(self.definition),
            "freshness": self.freshness.model_dump() if self.freshness else None,
            "distribution": asdict(self.distribution) if self.distribution else None,
            "models": [{"model": r.model, "version": r.version, "champion": r.champion} for r in self.readers],
        }


def entries(
    definitions: Iterable[Definition],
    *,
    policies: Mapping[str, ViewFreshness],
    distributions: Mapping[str, Mapping[str, Distribution]],
    readers: Iterable[Reader],
) -> tuple[Entry, ...]:
    """Bring together what is known of each feature.

    Args:
        definitions: every declared feature.
        policies: feature view -> freshness.
        distributions: feature view -> feature -> distribution.
        readers: model versions.
    """
    known = tuple(readers)
    return tuple(
        Entry(
            definition=definition,
            freshness=policies.get(definition.view),
            distribution=distributions.get(definition.view, {}).get(definition.name),
            readers=tuple(reader for reader in known if definition.name in reader.features),
        )
        for definition in definitions
    )
