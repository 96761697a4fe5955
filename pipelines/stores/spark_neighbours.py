"""The most similar rows of sparse matrices, found by Spark: no row is held against all others at once.

Two rows meet where they have a column in common, so what it takes are the pairs within each column: the sum of the
squares of the columns' lengths, and none for rows that share nothing.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.config import SparkConfig
from pipelines.stores.spark_session import open_session, session_conf
from pipelines.stores.spark_staging import Staging

NEAREST = """
SELECT row, other, similarity FROM (
    SELECT row, other, similarity,
        row_number() OVER (PARTITION BY row ORDER BY similarity DESC, other) AS place
    FROM (
        SELECT a.row, b.row AS other,
            CAST(sum(a.value * b.value) * (count(*) / (count(*) + {shrinkage})) AS FLOAT) AS similarity
        FROM {rows} a JOIN {others} b ON a.column = b.column AND a.self <> b.row
        GROUP BY a.row, b.row
    )
    WHERE similarity > 0
)
WHERE place <= {num_nearest}
"""


class SparkNeighbours:
    """Finds neighbours as `models.retrievers.similarity.nearest` does, within the rounding of a float.

    Args:
        config: of the session, and the folder that driver and executors share.
        scratch: where a local Spark spills, and the folder when none is configured.
    """

    def __init__(self, config: SparkConfig, scratch: Path) -> None:
        self._config, self._scratch = config, scratch

    def __call__(
        self,
        rows: Any,
        others: Any,
        *,
        common: tuple[Any, Any],
        num_nearest: int,
        shrinkage: float,
        same: NDArray[Any],
    ) -> Any:
        """Return the most similar others of each row, CSR float32 `[num_rows, num_others]`; only positive ones.

        Args:
            rows: unit rows, CSR.
            others: unit rows, CSR with as many columns.
            common: rows and others as ones, for counting what they have in common.
            num_nearest: others kept a row.
            shrinkage: a similarity is multiplied by `n / (n + shrinkage)`, with n columns in common.
            same: for each row the other that is itself and not to be found, -1 where there is none, `[num_rows]`.

        Raises:
            ConfigError: PySpark or Java is not installed.
            FeatureStoreError: Spark did not start.
        """
        import scipy.sparse as sp

        session = open_session(session_conf(self._config, self._scratch))
        staging = Staging(self._config.staging_uri or str(self._scratch), {})
        try:
            asked = _cells(rows, common[0])
            asked = asked.append_column("self", pa.array(same[asked["row"].to_numpy()].astype(np.int64)))
            found = session.sql(
                NEAREST,
                rows=staging.put(session, "rows.parquet", asked),
                others=staging.put(session, "others.parquet", _cells(others, common[1])),
                num_nearest=num_nearest,
                shrinkage=float(shrinkage),
            )
            staging.write("nearest", found)
            near = staging.read("nearest").read_all()
        finally:
            staging.remove()
        places = near["row"].to_numpy(), near["other"].to_numpy()
        return sp.csr_matrix(
            (near["similarity"].to_numpy(), places), (rows.shape[0], others.shape[0]), dtype=np.float32
        )


def _cells(matrix: Any, ones: Any) -> pa.Table:
    """Return `row`, `column` and `value` of each cell of `ones`; a cell that `matrix` lacks has value 0.

    Values less a mean may be 0, and still count as something in common.
    """
    cells, values = ones.tocoo(), matrix.tocoo()
    keys, filled = (places.row.astype(np.int64) * ones.shape[1] + places.col for places in (cells, values))
    order = np.argsort(keys)
    column = np.zeros(len(keys))
    column[order[np.searchsorted(keys, filled, sorter=order)]] = values.data
    return pa.table({"row": cells.row.astype(np.int64), "column": cells.col.astype(np.int64), "value": column})
