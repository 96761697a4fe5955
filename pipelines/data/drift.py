"""What to do when the columns of a raw table are not those of its contract: new ones, missing ones, other types.

What must be there stops a partition whenever it is missing: no policy can make up a user. For the rest the
configuration says, for each kind of change: go on without the column (or with its values converted) and say so, set the
rows that it concerns aside, or refuse the partition.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.config import ValidationConfig
from pipelines.data.rules import RowRule

if TYPE_CHECKING:
    import pyarrow as pa

UNTYPED = b"tandem.untyped"
"""Schema metadata of a staged table: JSON list of the columns whose type says nothing of the source's."""
NEW, MISSING, RETYPED = "new_column", "missing_column", "retyped_column"


@dataclass(frozen=True)
class Drift:
    """How the columns of one raw table differ from its contract; column -> what there is to say of it."""

    new: Mapping[str, str]
    missing: Mapping[str, str]
    retyped: Mapping[str, str]

    def under(self, policy: str, config: ValidationConfig) -> dict[str, dict[str, str]]:
        """Return kind of change -> the columns for which the configuration names `policy`."""
        kinds = {
            NEW: (self.new, config.new_columns),
            MISSING: (self.missing, config.missing_columns),
            RETYPED: (self.retyped, config.retyped_columns),
        }
        return {kind: dict(columns) for kind, (columns, chosen) in kinds.items() if columns and chosen == policy}


def find_drift(actual: "pa.Schema", expected: "pa.Schema") -> Drift:
    """Return how a staged table's columns differ from the contract's; required columns are not its business."""
    untyped = json.loads((actual.metadata or {}).get(UNTYPED, b"[]"))
    new = {name: "is not of the contract" for name in actual.names if name not in expected.names}
    missing = {f.name: "is not there" for f in expected if f.nullable and f.name not in actual.names}
    retyped = {
        field.name: f"has type {found}; expected {_family(field.type)}"
        for field in expected
        if field.name in actual.names and field.name not in untyped
        for found in [_family(actual.field(field.name).type)]
        if found not in (_family(field.type), "nothing")
    }
    return Drift(new, missing, retyped)


def drift_rules(drift: Drift, config: ValidationConfig) -> list[RowRule]:
    """Return the row rules that set rows aside where the configuration says `quarantine`."""
    return [
        RowRule(
            kind,
            _flag(kind),
            "ExpectColumnValuesToBeInSet",
            {"column": _flag(kind), "value_set": [False]},
            f"no row is touched by a {kind.replace('_', ' ')}: {', '.join(columns)}",
        )
        for kind, columns in drift.under("quarantine", config).items()
    ]


def drift_flags(drift: Drift, config: ValidationConfig) -> str:
    """Return SQL of one boolean column a rule of `drift_rules`, over the staged columns."""
    flags = ""
    for kind, columns in drift.under("quarantine", config).items():
        there = " OR ".join(f'"{name}" IS NOT NULL' for name in columns) if kind != MISSING else "true"
        flags += f", ({there}) AS {_flag(kind)}"
    return flags


def drift_sentences(table: str, drift: Drift, policy: str, config: ValidationConfig) -> list[str]:
    """Return one sentence a column under `policy`."""
    found = drift.under(policy, config)
    return [
        f"{kind}: column `{name}` of {table} {about}"
        for kind, columns in found.items()
        for name, about in columns.items()
    ]


def _flag(kind: str) -> str:
    return f"has_{kind}"


def _family(kind: Any) -> str:
    """What a type is to a person: widths, units and encodings of the same are no other type."""
    import pyarrow.types as t

    kind = kind.value_type if t.is_dictionary(kind) else kind
    families = {
        "nothing": t.is_null,
        "text": lambda k: t.is_string(k) or t.is_large_string(k),
        "number": lambda k: t.is_integer(k) or t.is_floating(k) or t.is_decimal(k),
        "time": lambda k: t.is_timestamp(k) or t.is_date(k),
        "list": lambda k: t.is_list(k) or t.is_large_list(k),
    }
    return next((name for name, holds in families.items() if holds(kind)), str(kind))
