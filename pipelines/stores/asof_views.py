"""What Feast asks of a view in a point-in-time join, in the terms of the join."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from feast.feature_view import DUMMY_ENTITY_ID

from pipelines.errors import FeatureStoreError
from pipelines.stores.asof_join import JoinView

if TYPE_CHECKING:
    from feast.feature_view import FeatureView


class RequestedView:
    """A Feast view and those of its features that were asked for.

    Args:
        view: as Feast passes it to an offline store, with its projection.
        refs: all features of the request, as `view:feature`.
        full_names: whether features are named `view__feature` in the result.
        by_arrival: whether a row must have arrived by the label's time to be seen.

    Raises:
        FeatureStoreError: the view has no entity.
    """

    def __init__(self, view: "FeatureView", refs: Sequence[str], full_names: bool, by_arrival: bool) -> None:
        join_keys = view.projection.join_key_map or {column.name: column.name for column in view.entity_columns}
        if DUMMY_ENTITY_ID in join_keys:
            raise FeatureStoreError(
                f"feature view {view.name!r} has no entity; expected one to join by. Declare an entity for it"
            )
        self._view, self._by_arrival = view, by_arrival
        self._join_keys = join_keys
        asked = view.projection.name_to_use()
        wanted = [ref.split(":", 1)[1] for ref in refs if ref.split(":", 1)[0] == asked]
        # A reference may name a version of the view; the result does not.
        prefix = view.projection.name_alias or view.name
        self._features = {name: f"{prefix}__{name}" if full_names else name for name in wanted}

    @property
    def source(self) -> Any:
        """Where the view's rows are."""
        return self._view.batch_source

    def read_from(self, relation: str, present: Sequence[str]) -> JoinView:
        """Return the view as the join sees it.

        Args:
            relation: name of the relation that holds the source's rows.
            present: its columns.
        """
        view, source = self._view, self.source
        columns = {new: old for old, new in source.field_mapping.items()}
        created = source.created_timestamp_column
        return JoinView(
            relation=relation,
            join_keys={columns.get(key, key): label for key, label in self._join_keys.items()},
            features={columns.get(name, name): result for name, result in self._features.items()},
            timestamp=columns.get(source.timestamp_field, source.timestamp_field),
            created=columns.get(created, created) or None,
            ttl=view.ttl,
            by_arrival=self._by_arrival,
            tie_columns=[
                name for name in sorted(columns.get(f.name, f.name) for f in view.features) if name in present
            ],
        )


def check_names(names: Sequence[str]) -> None:
    """Check that no column would be in a result twice.

    Raises:
        FeatureStoreError: one would.
    """
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise FeatureStoreError(
            f"the result would have columns {twice} twice; expected different names. Drop them from the entity rows, "
            "or pass full_feature_names=True"
        )
