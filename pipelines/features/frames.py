"""On-demand features over frames, as Feast calls them; columns may be Arrow-backed or plain objects."""

from typing import TYPE_CHECKING

import pyarrow as pa

from pipelines.features import on_demand
from pipelines.features.schemas import STRINGS, TIMESTAMP

if TYPE_CHECKING:
    import pandas as pd


def request_context(inputs: "pd.DataFrame") -> "pd.DataFrame":
    """Return `hour` and `weekday` of `request_timestamp`."""
    context = on_demand.request_context(_column(inputs, on_demand.REQUEST_TIMESTAMP, TIMESTAMP))
    return _frame(context, inputs)


def days_since_last_event(inputs: "pd.DataFrame") -> "pd.DataFrame":
    """Return `days_since_last_event` from `request_timestamp` and `last_known_at`."""
    moments = _column(inputs, on_demand.REQUEST_TIMESTAMP, TIMESTAMP), _column(inputs, "last_known_at", TIMESTAMP)
    return _frame({"days_since_last_event": on_demand.days_since_last_event(*moments)}, inputs)


def taste_match(inputs: "pd.DataFrame") -> "pd.DataFrame":
    """Return `taste_match` from a user's taste and an item's categories."""
    match = on_demand.taste_match(
        _column(inputs, "taste_categories", STRINGS),
        _column(inputs, "taste_weights", pa.list_(pa.float32())),
        _column(inputs, "categories", STRINGS),
    )
    return _frame({"taste_match": pa.array(match)}, inputs)


def _column(inputs: "pd.DataFrame", name: str, kind: pa.DataType) -> on_demand.Column:
    import pandas as pd

    series = inputs[name]
    if isinstance(series.dtype, pd.ArrowDtype):
        return pa.array(series).cast(kind)
    return pa.array(series.tolist(), kind, from_pandas=True)


def _frame(columns: dict[str, pa.Array], inputs: "pd.DataFrame") -> "pd.DataFrame":
    frame: pd.DataFrame = pa.table(columns).to_pandas()
    return frame.set_index(inputs.index)
