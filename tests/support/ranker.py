"""A ranking model's bundle and pairs made from a small training set, and ways to doctor them."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config import RetrievalConfig
from pipelines.inputs.ranking_encoder import RankingEncoder
from pipelines.steps.retrieval_labels import fit_encoders
from tests.support.leakage import Built

CONTENT = ["title", "text", "categories"]


def pairs_of(rows: pa.Table) -> pa.Table:
    """Of each label its own item as the positive, and the next label's item as the negative."""
    num = rows.num_rows
    own, other = np.arange(num), np.roll(np.arange(num), -1)
    pairs = rows.take(pa.array(np.r_[own, other]))
    content = [name for name in pairs.column_names if name.startswith("item_") or name in CONTENT]
    return (
        pairs.select(content)
        .append_column("query_id", pa.array(np.r_[own, own]))
        .append_column("label", pa.array(np.r_[np.ones(num), np.zeros(num)].astype(np.float32)))
        .append_column("retrieval_score", pa.array(np.linspace(-1, 1, 2 * num).astype(np.float32)))
        .append_column("taste_match", pa.array(np.linspace(0, 1, 2 * num).astype(np.float32)))
    )  # fmt: skip


class Ranker:
    """The pairs of the training window, and a bundle fitted on them; every part can be doctored."""

    def __init__(self, built: Built, folder: Path) -> None:
        self.built, self.bundle, self.pairs = built, folder / "bundle", folder / "pairs"
        self.bundle.mkdir()
        self.pairs.mkdir()
        rows = built.rows("train")
        self.queries = rows.drop_columns(CONTENT)
        self.write(pairs_of(rows))
        _, query = fit_encoders(rows, RetrievalConfig(max_text_tokens=4))
        self.encoder = self.fit(pairs_of(rows), query, rows)

    def write(self, pairs: pa.Table) -> None:
        pq.write_table(pairs, self.pairs / "train.parquet")
        pq.write_table(self.queries, self.pairs / "train_queries.parquet")

    def fit(self, pairs: pa.Table, query: Any, items: pa.Table) -> RankingEncoder:
        """Fit on rows and save; returns the encoder."""
        encoder = RankingEncoder.fit(pairs, query=query, items=items, num_oov_buckets=2, max_text_tokens=4)
        shutil.rmtree(self.bundle / "ranking_inputs", ignore_errors=True)
        encoder.save(self.bundle / "ranking_inputs")
        return encoder
