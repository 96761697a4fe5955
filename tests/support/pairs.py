"""Encoded pairs with a pattern to learn: items of the user's own taste are used, retrieval's score is noise."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.config import DEFAULT_TRAINING, RankingConfig
from pipelines.inputs.item_encoder import ItemEncoder
from pipelines.inputs.query_encoder import QueryEncoder
from pipelines.inputs.ranking_encoder import RankingEncoder
from pipelines.models.pairs import PairData
from pipelines.models.ranking import TrainedRanker, train_ranker
from tests.support.rows import feature_rows

PER_QUERY = 10


@dataclass(frozen=True)
class Pairs:
    """Pairs to learn from and later ones to judge by, and how they were encoded."""

    train: PairData
    validation: PairData
    encoder: RankingEncoder

    @property
    def sizes(self) -> dict[str, int]:
        vocabularies = {**self.encoder.query.vocabularies, **self.encoder.item.vocabularies}
        return {name: vocabulary.size for name, vocabulary in vocabularies.items()}

    def ranker(
        self, config: RankingConfig, *, seed: int = 1, checkpoints: Path | None = None, **changed: Any
    ) -> TrainedRanker:
        """Train a ranker; `changed` replaces `train` or `validation`, or says what it runs on (`run`)."""
        run = changed.pop("run", DEFAULT_TRAINING)
        vectors = np.random.default_rng(0).normal(size=(self.sizes["item"], 3)).astype(np.float32)
        data = {"train": self.train, "validation": self.validation, **changed}
        return train_ranker(
            data["train"],
            data["validation"],
            shapes=self.encoder.shapes,
            sizes=self.sizes,
            item_vectors=vectors,
            config=config,
            seed=seed,
            checkpoints=checkpoints,
            run=run,
        )


def made_pairs(num_train: int = 1_500, num_validation: int = 500, *, seed: int = 0) -> Pairs:
    """Return pairs of 10 random candidates a query; one of the user's taste is used in 7 of 10 cases, others hardly."""
    known, later = (feature_rows(num, seed=seed + number) for number, num in enumerate((num_train, num_validation)))
    items = ItemEncoder.fit(known, num_oov_buckets=2, max_text_tokens=2).vocabularies
    query = QueryEncoder.fit(
        known, item_vocabulary=items["item"], category_vocabulary=items["category"], num_oov_buckets=2
    )
    numbers, _, _ = _numbers(known, np.random.default_rng(seed))
    pairs = known.drop_columns("taste_match")
    for name in numbers.column_names:
        pairs = pairs.append_column(name, numbers[name])
    encoder = RankingEncoder.fit(pairs, query=query, items=known, num_oov_buckets=2, max_text_tokens=2)
    return Pairs(_data(known, encoder, seed), _data(later, encoder, seed + 1), encoder)


def told(data: PairData) -> PairData:
    """Return the pairs as if retrieval knew which candidates were used."""
    numbers = data.pair_numbers.copy()
    numbers[:, 0] = data.label * 2 + np.random.default_rng(0).random(len(data.label))
    return replace(data, pair_numbers=numbers)


def popular(data: PairData) -> PairData:
    """Return the pairs as if what is popular in the last week had been used."""
    numbers = data.items["item_numbers"].copy()
    numbers[:, 1] = np.random.default_rng(1).normal(size=len(numbers))
    label = (numbers[data.item_rows, 1] > 1).astype(np.float32)
    return replace(data, items={**data.items, "item_numbers": numbers}, label=label)


def outputs(ranker: TrainedRanker, data: PairData) -> dict[str, np.ndarray]:
    """Return what is served for all pairs."""
    found = ranker.served.predict_on_batch(data.inputs(np.arange(len(data.label))))
    return {name: np.asarray(values) for name, values in found.items()}


def _data(rows: pa.Table, encoder: RankingEncoder, seed: int) -> PairData:
    rng = np.random.default_rng(seed)
    numbers, query_rows, item_rows = _numbers(rows, rng)
    match = numbers["taste_match"].to_numpy()
    label = (rng.random(len(match)) < np.where(match > 0, 0.7, 0.03)).astype(np.float32)
    return PairData(
        queries={name: values for name, values in encoder.query.encode(rows).items() if name != "user"},
        items=encoder.item.encode(rows),
        pair_numbers=encoder.pair_numbers.encode(numbers),
        query_rows=query_rows,
        item_rows=item_rows,
        label=label,
        weight=np.ones(len(label), np.float32),
        value=np.where(label > 0, 2.0 + match, np.nan).astype(np.float32),
    )


def _numbers(rows: pa.Table, rng: np.random.Generator) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Return `taste_match` and a `retrieval_score` of noise, and the rows of each pair's query and item."""
    num = rows.num_rows
    query_rows, item_rows = np.arange(num) // PER_QUERY * PER_QUERY, rng.integers(num, size=num)
    taste, categories = (pc.list_element(rows[name], 0) for name in ("taste_categories", "categories"))
    match = pc.fill_null(pc.equal(taste.take(query_rows), categories.take(item_rows)), False)
    return (
        pa.table({"taste_match": match.cast(pa.float32()), "retrieval_score": rng.normal(size=num)}),
        query_rows,
        item_rows,
    )
