"""Are the features of a label those of the raw events known strictly before it?"""

from collections.abc import Sequence

from pipelines.contracts import LeakageCheck, LeakageFinding
from pipelines.leakage.evidence import Evidence, outcome
from pipelines.leakage.reference import BEFORE_ARRIVAL, FEATURES, HONEST, OWN_EVENT, Rule, delayed, reference

RECOMPUTED = "recomputed_from_raw_events"
ARRIVED = "known_before_use"
EXPLANATIONS = {
    OWN_EVENT: "counts the label's own event, or others of the same moment",
    BEFORE_ARRIVAL: "counts events before they had arrived",
}


def recomputed_from_raw_events(evidence: Evidence) -> LeakageCheck:
    """Compare a sample of labels with features worked out of the raw rows known strictly before each."""
    num_rows = evidence.sample("asked", evidence.config.num_rows)
    findings = _differences(evidence, num_rows)
    covered, unproven = _covered(evidence)
    note = f"not recomputed, as no reference is written for them: {', '.join(unproven)}" if unproven else ""
    question = f"Do {len(covered)} features equal those worked out of the raw events known strictly before each label?"
    return outcome(RECOMPUTED, question, num_rows, findings, note=note)


def known_before_use(evidence: Evidence) -> LeakageCheck:
    """Compare labels for which an earlier event arrived only later: there, using it too early shows."""
    question = "Is an event that arrived late used only from when it arrived?"
    late = f"{HONEST.known} + {delayed(evidence.delay)}"
    num_late = evidence.rows(f"SELECT count(*) FROM events WHERE {HONEST.known} > {BEFORE_ARRIVAL.known}")[0][0]
    if not num_late and not evidence.delay:
        return outcome(ARRIVED, question, 0, (), note="no row of this source arrived after it happened")
    evidence.connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE asked AS
        WITH late AS (
            SELECT user_id, epoch_us(event_timestamp) AS happened, {late} AS known
            FROM events WHERE {late} > epoch_us(event_timestamp) AND {late} < {evidence.as_of}
        ),
        touched AS (
            SELECT DISTINCT l.split, l.file_row_number FROM labels l JOIN late
            ON l.user_id = late.user_id AND late.happened < l.moment AND l.moment <= late.known
            ORDER BY ALL LIMIT {evidence.config.num_rows}
        )
        SELECT row_number() OVER (ORDER BY moment, event_id) - 1 AS row, * FROM labels
        SEMI JOIN touched USING (split, file_row_number)
    """)
    ((num_rows,),) = evidence.rows("SELECT count(*) FROM asked")
    if not num_rows:
        return outcome(ARRIVED, question, 0, (), note="no label lies between an event of its user and its arrival")
    return outcome(ARRIVED, question, num_rows, _differences(evidence, num_rows))


def _covered(evidence: Evidence) -> tuple[list[str], list[str]]:
    """Features of the training set that the reference knows, and those that it does not."""
    features = feature_columns(evidence)
    return [f for f in features if f in FEATURES], [f for f in features if f not in FEATURES]


def feature_columns(evidence: Evidence) -> list[str]:
    """Return the columns of the training set that are features."""
    from pipelines.features.labels import LABEL_COLUMNS

    return [name for name in evidence.columns() if name not in LABEL_COLUMNS]


def _differences(evidence: Evidence, num_rows: int) -> list[LeakageFinding]:
    """One finding a feature of table `asked` that differs from the honest reference."""
    covered, _ = _covered(evidence)
    _refer(evidence, "expected", HONEST)
    wrong = _wrong_rows(evidence, covered, "expected")
    if not wrong:
        return []
    explained = {rule: _explained(evidence, list(wrong), rule) for rule in EXPLANATIONS}
    return [_finding(evidence, feature, rows, num_rows, explained) for feature, rows in wrong.items()]


def _refer(evidence: Evidence, table: str, rule: Rule) -> None:
    sql = reference("asked", rule, features=evidence.features, delay=evidence.delay, as_of=evidence.as_of)
    evidence.connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {sql}")


def _wrong_rows(evidence: Evidence, features: Sequence[str], expected: str) -> dict[str, list[int]]:
    """Feature -> rows in which it differs from table `expected`, of the features that differ at all."""
    kinds = evidence.columns()
    lists = ", ".join(f"list(a.row ORDER BY a.row) FILTER ({_differs(name, kinds[name])})" for name in features)
    (found,) = evidence.rows(f"SELECT {lists} FROM asked a JOIN {expected} e ON e.row = a.row")
    return {name: rows for name, rows in zip(features, found, strict=True) if rows}


def _differs(name: str, kind: str) -> str:
    """SQL that is true where a feature of `a` is not that of `e`; numbers are compared to five digits."""
    ours, theirs = f'a."{name}"', f'e."{name}"'
    if kind.startswith("TIMESTAMP"):
        return f"epoch_us({ours}) IS DISTINCT FROM epoch_us({theirs})"
    if kind in ("FLOAT[]", "DOUBLE[]"):
        far = f"list_max(list_transform(list_zip({ours}, {theirs}), lambda p: abs(p[1] - p[2]))) > 1e-5"
        return f"(len({ours}) IS DISTINCT FROM len({theirs}) OR coalesce({far}, false))"
    if kind in ("FLOAT", "DOUBLE"):
        far = f"abs({ours} - {theirs}) > 1e-5 * greatest(1, abs({theirs}))"
        return f"(({ours} IS NULL) <> ({theirs} IS NULL) OR coalesce({far}, false))"
    return f"{ours} IS DISTINCT FROM {theirs}"


def _explained(evidence: Evidence, features: list[str], rule: Rule) -> dict[str, list[int]]:
    """Feature -> rows that differ from what a leak by `rule` would have given."""
    _refer(evidence, "leaked", rule)
    return _wrong_rows(evidence, features, "leaked")


def _finding(
    evidence: Evidence, feature: str, rows: list[int], num_rows: int, explained: dict[Rule, dict[str, list[int]]]
) -> LeakageFinding:
    why = "differs from what was known before the label"
    for rule, unlike in explained.items():
        if not set(rows) & set(unlike.get(feature, ())):
            why = EXPLANATIONS[rule]
    (example,) = evidence.rows(f"""
        SELECT a.event_id, a.user_id, a.item_id, a.event_timestamp, a."{feature}", e."{feature}"
        FROM asked a JOIN expected e ON e.row = a.row WHERE a.row = {rows[0]}
    """)
    event, user, item, moment, ours, theirs = example
    return LeakageFinding(
        feature=feature,
        problem=f"{why} ({len(rows)} of {num_rows} rows)",
        example=f"event {event} of user {user} and item {item} at {moment:%Y-%m-%d %H:%M:%S.%f}: "
        f"{_short(ours)}; expected {_short(theirs)}",
    )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:50]} ... {text[-60:]}"
