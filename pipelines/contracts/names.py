"""Names of columns, tables, models and aliases, and of the partitions of served events."""

USER_ID = "user_id"
ITEM_ID = "item_id"
EVENT_ID = "event_id"
EVENT_TIMESTAMP = "event_timestamp"
INGESTED_AT = "ingested_at"
KNOWN_AT = "known_at"
EVENTS = "events"
ITEMS = "items"
USERS = "users"
QUARANTINE = "quarantine"
RAW_TABLES = (EVENTS, ITEMS, USERS)
SERVED = "served"
"""How the partitions of served events begin: `served:<log id>:<log>:<number>`."""


def partition_of(log_id: str, name: str, number: int) -> str:
    """Return the name of the partition that a batch of served events becomes."""
    return f"{SERVED}:{log_id}:{name}:{number}"


def is_served(partition: str) -> bool:
    """Return whether a partition is a batch of served events."""
    return partition.startswith(f"{SERVED}:")


RETRIEVAL_MODEL = "retrieval"
RANKING_MODEL = "ranking"
RECOMMENDER = "recommender"
CHAMPION = "champion"
CHALLENGER = "challenger"
