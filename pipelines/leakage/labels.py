"""Are the labels the events of the snapshot, as they were known at its `as_of`?"""

from pipelines.contracts import LeakageCheck, LeakageFinding
from pipelines.leakage.evidence import SPLITS, Evidence, outcome
from pipelines.leakage.reference import HONEST, delayed

COLUMNS = ("user_id", "item_id", "event_type", "value", "session_id", "device")


def labels_are_known_events(evidence: Evidence) -> LeakageCheck:
    """Every label is an event of the lake, with its own values, known before `as_of`."""
    conditions = {
        "event_id": "e.event_id IS NULL",
        "event_timestamp": "epoch_us(e.event_timestamp) <> l.moment",
        "known_at": f"e.known >= {evidence.as_of}",
        **{name: f"l.{name} IS DISTINCT FROM e.{name}" for name in COLUMNS},
    }
    problems = {
        "event_id": "labels are no events of the snapshot",
        "known_at": "labels became known at or after the snapshot's as_of",
    }
    parts = ", ".join(
        f"count(*) FILTER ({condition}), min(l.event_id) FILTER ({condition})" for condition in conditions.values()
    )
    ((*found,),) = evidence.rows(f"""
        SELECT {parts} FROM labels l LEFT JOIN (
            SELECT *, {HONEST.known} + {delayed(evidence.delay)} AS known FROM events
        ) e ON e.event_id = l.event_id
    """)
    findings = [
        LeakageFinding(
            feature=name,
            problem=f"{num} {problems.get(name, 'labels differ from their events')}",
            example=f"event {event}",
        )
        for name, num, event in zip(conditions, found[::2], found[1::2], strict=True)
        if num
    ]
    question = "Is every label an event of the snapshot, known before its as_of, with its own values?"
    num_labels = sum(evidence.training_set.num_rows[split] for split in SPLITS)
    return outcome("labels_are_known_events", question, num_labels, findings)
