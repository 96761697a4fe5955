"""Tiny feature rows in the columns of `ranking_v1`, with a pattern to learn."""

import numpy as np
import pyarrow as pa

GROUPS = ("drama", "comedy", "horror", "western")


def feature_rows(num_rows: int = 400, *, num_users: int = 40, num_items: int = 40, seed: int = 0) -> pa.Table:
    """Return label rows in order of time, in which users like the items of their own group.

    User `u<n>` and item `i<n>` are of group `n % 4`; nine of ten events are within the group. Nulls are where the
    platform has them: a user's first events have no history, some requests no device, some events no value.
    """
    rng = np.random.default_rng(seed)
    user = rng.integers(num_users, size=num_rows)
    own = rng.random(num_rows) < 0.9
    per_group = num_items // len(GROUPS)
    group = np.where(own, user % len(GROUPS), rng.integers(len(GROUPS), size=num_rows))
    item = group + len(GROUPS) * rng.integers(per_group, size=num_rows)
    history: list[list[str] | None] = []
    past: dict[int, list[str]] = {}
    for u, i in zip(user.tolist(), item.tolist(), strict=True):
        history.append(past.get(u, [])[-5:] or None)
        past.setdefault(u, []).append(f"i{i}")
    seen = np.array([0 if h is None else len(h) for h in history])
    popularity = np.bincount(item, minlength=num_items)
    taste = [None if h is None else [GROUPS[int(h[-1][1:]) % len(GROUPS)]] for h in history]
    start = np.datetime64("2025-01-01T00:00:00", "us").astype(np.int64)
    return pa.table(
        {
            "event_id": [f"e{n:05d}" for n in range(num_rows)],
            "user_id": [f"u{u}" for u in user],
            "item_id": [f"i{i}" for i in item],
            "event_type": ["rating"] * num_rows,
            "value": pa.array(rng.integers(1, 6, num_rows).astype(float), mask=rng.random(num_rows) < 0.2),
            "event_timestamp": pa.array(start + np.arange(num_rows) * 3_600_000_000).cast(pa.timestamp("us", tz="UTC")),
            "session_id": pa.nulls(num_rows, pa.string()),
            "device": pa.array(rng.choice(["mobile", "tv"], num_rows).tolist(), mask=rng.random(num_rows) < 0.2),
            "user_num_events": pa.array(seen, mask=seen == 0),
            "user_num_events_7d": pa.array(seen, mask=seen == 0),
            "user_num_events_30d": pa.array(seen, mask=seen == 0),
            "user_mean_value": pa.array(rng.random(num_rows).astype(np.float32) * 4 + 1, mask=seen == 0),
            "recent_items": pa.array(history, pa.list_(pa.string())),
            "taste_categories": pa.array(taste, pa.list_(pa.string())),
            "taste_weights": pa.array([None if t is None else [1.0] for t in taste], pa.list_(pa.float32())),
            "attributes": [[f"segment={u % 4}", "country=nl"] for u in user],
            "title": [f"The {GROUPS[i % 4]} of {i} ({1990 + i % 10})" for i in item],
            "text": pa.nulls(num_rows, pa.string()),
            "categories": [[GROUPS[i % 4]] for i in item],
            "item_num_events_1d": popularity[item] // 10,
            "item_num_events_7d": popularity[item] // 5,
            "item_num_events_30d": popularity[item] // 2,
            "item_num_events": popularity[item],
            "item_mean_value": rng.random(num_rows).astype(np.float32) * 4 + 1,
            "item_num_values": popularity[item],
            "item_value_std": rng.random(num_rows).astype(np.float32),
            "hour": np.arange(num_rows) % 24,
            "weekday": np.arange(num_rows) // 24 % 7,
            "days_since_last_event": pa.array(rng.random(num_rows).astype(np.float32) * 9, mask=seen == 0),
            "taste_match": np.array(
                [0.0 if t is None else float(t[0] == GROUPS[i % 4]) for t, i in zip(taste, item, strict=True)]
            ),
        }
    )
