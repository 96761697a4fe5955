"""A released feature service is never changed: what a model was trained with keeps its meaning."""

import pytest

from pipelines.stores.declared import declared_services

USER = [
    "user_num_events", "user_num_events_7d", "user_num_events_30d", "user_mean_value", "last_known_at", "recent_items",
    "taste_categories", "taste_weights", "attributes",
]  # fmt: skip
CONTENT = ["title", "text", "categories"]
POPULARITY = ["item_num_events_1d", "item_num_events_7d", "item_num_events_30d", "item_num_events"]
QUALITY = ["item_mean_value", "item_num_values", "item_value_std"]
REQUEST = ["hour", "weekday", "days_since_last_event"]
RELEASED = {
    "retrieval_v1": [*USER, *CONTENT, *POPULARITY, *REQUEST],
    "ranking_v1": [*USER, *CONTENT, *POPULARITY, *REQUEST, *QUALITY, "taste_match"],
    "serving_user_v1": [*USER, "seen_items"],
    "serving_user_v2": [*USER, "seen_items", "window_known_at", "value_sum", "num_values"],
    "item_v1": [*CONTENT, *POPULARITY, *QUALITY],
}
"""Once here, a line is never changed; a new version of a service adds one."""


@pytest.mark.parametrize("service", RELEASED)
def test_a_released_service_is_as_it_was(service: str) -> None:
    assert list(declared_services()[service]) == RELEASED[service]


def test_every_service_is_listed() -> None:
    assert set(declared_services()) == set(RELEASED)


def test_types_are_those_of_the_tables() -> None:
    types = declared_services()["ranking_v1"]
    assert types["recent_items"] == "list<string>"
    assert types["user_num_events"] == "int64"
    assert types["last_known_at"] == "timestamp[us, tz=UTC]"
