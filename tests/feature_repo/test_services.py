"""A released feature service is never changed: what a model was trained with keeps its meaning."""

import pytest

from pipelines.stores.declared import declared_services

USER = {
    "user_num_events": "int64",
    "user_num_events_7d": "int64",
    "user_num_events_30d": "int64",
    "user_mean_value": "float",
    "last_known_at": "timestamp[us, tz=UTC]",
    "recent_items": "list<string>",
    "taste_categories": "list<string>",
    "taste_weights": "list<float>",
    "attributes": "list<string>",
}
SEEN = {"seen_items": "list<string>"}
WINDOW = {"window_known_at": "list<int64>", "value_sum": "string", "num_values": "int64"}
CONTENT = {"title": "string", "text": "string", "categories": "list<string>"}
POPULARITY = dict.fromkeys(
    ["item_num_events_1d", "item_num_events_7d", "item_num_events_30d", "item_num_events"], "int64"
)
QUALITY = {"item_mean_value": "float", "item_num_values": "int64", "item_value_std": "float"}
REQUEST = {"hour": "int64", "weekday": "int64", "days_since_last_event": "float"}
RELEASED = {
    "retrieval_v1": USER | CONTENT | POPULARITY | REQUEST,
    "ranking_v1": USER | CONTENT | POPULARITY | REQUEST | QUALITY | {"taste_match": "float"},
    "serving_user_v1": USER | SEEN,
    "serving_user_v2": USER | SEEN | WINDOW,
    "item_v1": CONTENT | POPULARITY | QUALITY,
}
"""Once here, a line is never changed; a new version of a service adds one."""


@pytest.mark.parametrize("service", RELEASED)
def test_a_released_service_is_as_it_was(service: str) -> None:
    # Items, so that the order counts, too.
    assert list(declared_services()[service].items()) == list(RELEASED[service].items())


def test_every_service_is_listed() -> None:
    assert set(declared_services()) == set(RELEASED)
