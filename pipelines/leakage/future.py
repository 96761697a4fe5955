"""Do features stamped before a moment depend on anything that became known from it on?"""

import pyarrow as pa

from pipelines.contracts import RAW_TABLES, LeakageCheck, LeakageFinding
from pipelines.data.schemas import LAKE_SCHEMAS
from pipelines.leakage.evidence import Evidence, microseconds, outcome
from pipelines.leakage.recompute import feature_columns
from pipelines.leakage.reference import HONEST, delayed

NAME = "blind_to_the_future"


def blind_to_the_future(evidence: Evidence) -> LeakageCheck:
    """Run the feature transformations on a sample twice, the second time with another future, and compare.

    From the start of validation on, every event is of another user and item and has another value, a third of them
    never happened, and items and users changed. Training rows must not notice: a feature row stamped up to that
    moment has to be equal to the last bit. Whole users are sampled, so that their histories stay whole.
    """
    moment = microseconds(evidence.training_set.validation_start)
    num_events = _sample(evidence, moment)
    findings = []
    num_rows = 0
    tables = {prefix: _computed(evidence, prefix) for prefix in ("present", "other")}
    for name in tables["present"]:
        for prefix, computed in tables.items():
            evidence.connection.register(f"{prefix}_rows", computed[name])
        num_rows += evidence.rows(f"SELECT count(*) FROM present_rows WHERE epoch_us(event_timestamp) <= {moment}")[0][
            0
        ]
        findings += _compare(evidence, name, moment)
    question = "Are training features the same whatever happens from the start of validation on?"
    return outcome(NAME, question, num_rows, findings, note=f"on a sample of {num_events:,} events")


def _sample(evidence: Evidence, moment: int) -> int:
    """Create the raw tables of a sample, `present_*`, and the same with another future, `other_*`."""
    run = evidence.connection.execute
    known = f"{HONEST.known} + {delayed(evidence.delay)}"
    run(f"""
        CREATE OR REPLACE TEMP TABLE sampled_users AS
        SELECT user_id FROM (
            SELECT user_id, sum(count(*)) OVER (ORDER BY md5(user_id || '{evidence.seed}'), user_id) AS total
            FROM events GROUP BY user_id
        ) WHERE total - {evidence.config.max_future_events} <= 0
    """)
    run("""
        CREATE OR REPLACE TEMP TABLE present_events AS
        SELECT * FROM events WHERE user_id IN (FROM sampled_users)
    """)
    run("CREATE OR REPLACE TEMP TABLE present_users AS SELECT * FROM users WHERE user_id IN (FROM sampled_users)")
    run("""
        CREATE OR REPLACE TEMP TABLE present_items AS
        SELECT * FROM items WHERE item_id IN (SELECT item_id FROM present_events)
    """)
    run(f"""
        CREATE OR REPLACE TEMP TABLE other_events AS
        WITH future AS (
            SELECT *, row_number() OVER (ORDER BY event_timestamp, event_id) AS n
            FROM present_events WHERE {known} >= {moment}
        )
        FROM present_events WHERE {known} < {moment}
        UNION ALL BY NAME
        SELECT * EXCLUDE (n) REPLACE (
            coalesce(lead(user_id, 7) OVER by_n, first_value(user_id) OVER by_n) AS user_id,
            coalesce(lead(item_id, 3) OVER by_n, first_value(item_id) OVER by_n) AS item_id,
            coalesce(value, 0) + 1000 AS value
        ) FROM future WINDOW by_n AS (ORDER BY n) QUALIFY n % 3 <> 0
    """)
    later = f"epoch_us(updated_at) >= {moment}"
    run(f"""
        CREATE OR REPLACE TEMP TABLE other_items AS SELECT * REPLACE (
            CASE WHEN {later} THEN 'another title' ELSE title END AS title,
            CASE WHEN {later} THEN ['another category'] ELSE categories END AS categories
        ) FROM present_items
    """)
    run(f"""
        CREATE OR REPLACE TEMP TABLE other_users AS SELECT * REPLACE (
            CASE WHEN {later} THEN ['another=attribute'] ELSE attributes END AS attributes
        ) FROM present_users
    """)
    return int(evidence.rows("SELECT count(*) FROM present_events")[0][0])


def _computed(evidence: Evidence, prefix: str) -> dict[str, pa.Table]:
    """Feature tables of one of the two, by the platform's own transformations; those of the training set alone."""
    import ibis

    from pipelines.features.compute import run
    from pipelines.features.schemas import FEATURE_TABLES
    from pipelines.features.transforms import RawTables, feature_tables

    raw = {
        name: ibis.table(ibis.Schema.from_pyarrow(LAKE_SCHEMAS[name]), name=f"{prefix}_{name}") for name in RAW_TABLES
    }
    expressions = feature_tables(
        RawTables(**raw),
        config=evidence.features,
        as_of=evidence.training_set.features.snapshot.as_of,
        delay_seconds=evidence.delay / 1_000_000,
    )
    used = set(feature_columns(evidence))
    return {
        name: run(evidence.connection, expressions[name]).to_arrow_table()
        for name, table in FEATURE_TABLES.items()
        if used & set(table.features)
    }


def _compare(evidence: Evidence, name: str, moment: int) -> list[LeakageFinding]:
    """One finding a feature of table `name` whose rows up to `moment` differ between the two."""
    from pipelines.features.schemas import FEATURE_TABLES

    table = FEATURE_TABLES[name]
    key = f"{table.entity}, event_timestamp"
    past = f"epoch_us(event_timestamp) <= {moment}"
    differs = {f: f'p."{f}" IS DISTINCT FROM o."{f}"' for f in table.features}
    example = f'arg_min(({table.entity}, event_timestamp, p."{{f}}", o."{{f}}"), event_timestamp)'
    parts = [
        f"count(*) FILTER ({condition}), {example.format(f=f)} FILTER ({condition})" for f, condition in differs.items()
    ]
    ((*found,),) = evidence.rows(f"""
        SELECT {", ".join(parts)} FROM (SELECT * FROM present_rows WHERE {past}) p
        FULL JOIN (SELECT * FROM other_rows WHERE {past}) o USING ({key})
    """)
    findings = []
    for feature, num, row in zip(differs, found[::2], found[1::2], strict=True):
        if num:
            entity, at, ours, theirs = row
            findings.append(
                LeakageFinding(
                    feature=feature,
                    problem=f"{num} rows of {name} stamped before the future began changed with it",
                    example=f"{table.entity} {entity} at {at}: {ours}; with another future {theirs}",
                )
            )
    return findings
