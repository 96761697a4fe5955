"""Are the parts of a training set apart: in time, in events, for every user and item?"""

from pipelines.contracts import LeakageCheck, LeakageFinding
from pipelines.leakage.evidence import SPLITS, Evidence, microseconds, outcome


def split_by_time(evidence: Evidence) -> LeakageCheck:
    """Every label lies on its side of the two cuts."""
    cuts = [
        microseconds(moment) for moment in (evidence.training_set.validation_start, evidence.training_set.test_start)
    ]
    inside = {
        "train": f"moment < {cuts[0]}",
        "validation": f"moment >= {cuts[0]} AND moment < {cuts[1]}",
        "test": f"moment >= {cuts[1]}",
    }
    findings = []
    for split, condition in inside.items():
        ((num, event, moment),) = evidence.rows(
            "SELECT count(*), min(event_id), min(event_timestamp) FROM labels "
            f"WHERE split = '{split}' AND NOT ({condition})"
        )
        if num:
            problem = f"{num} rows of {split} lie outside its part of time"
            findings.append(
                LeakageFinding(feature="event_timestamp", problem=problem, example=f"event {event} at {moment}")
            )
    return outcome("split_by_time", "Does time divide train, validation and test?", _num_labels(evidence), findings)


def later_parts_come_later(evidence: Evidence) -> LeakageCheck:
    """No user's and no item's test or validation label is older than one of theirs in an earlier part."""
    findings = [
        finding
        for key in ("user_id", "item_id")
        for earlier, later in (("train", "validation"), ("train", "test"), ("validation", "test"))
        for finding in _inversions(evidence, key, earlier, later)
    ]
    question = "Is every user's and item's later part later than their earlier part?"
    return outcome("later_parts_come_later", question, _num_labels(evidence), findings)


def no_event_in_two_parts(evidence: Evidence) -> LeakageCheck:
    """No event, and no copy of one under another id, is in two parts, or twice in one."""
    findings = []
    for name, key in (("event_id", "event_id"), ("user_id, item_id, event_timestamp", "user_id, item_id, moment")):
        # A shop may sell an item twice in one moment: copies are a leak only across parts.
        repeated = "count(*) > 1" if name == "event_id" else "count(DISTINCT split) > 1"
        found = evidence.rows(
            f"SELECT min(event_id), list_sort(list(split)), count(*) OVER () FROM labels GROUP BY {key} "
            f"HAVING {repeated} ORDER BY 1 LIMIT 1"
        )
        if found:
            event, splits, num = found[0]
            where = " and ".join(splits[:3])
            findings.append(
                LeakageFinding(feature=name, problem=f"{num} repeated", example=f"event {event} in {where}")
            )
    question = "Is every event in one part, once?"
    return outcome("no_event_in_two_parts", question, _num_labels(evidence), findings)


def _inversions(evidence: Evidence, key: str, earlier: str, later: str) -> list[LeakageFinding]:
    found = evidence.rows(f"""
        SELECT {key}, max(moment) FILTER (split = '{earlier}') AS last, min(moment) FILTER (split = '{later}') AS first,
            count(*) OVER () FROM labels GROUP BY {key} HAVING first <= last ORDER BY last - first DESC, {key} LIMIT 1
    """)
    if not found:
        return []
    name, last, first, num = found[0]
    problem = f"{later} rows precede {earlier} rows for {num} of them"
    example = f"{key} {name}: {later} begins {(last - first) / 1e6:,.0f} s before {earlier} ends"
    return [LeakageFinding(feature=key, problem=problem, example=example)]


def _num_labels(evidence: Evidence) -> int:
    return sum(evidence.training_set.num_rows[split] for split in SPLITS)
