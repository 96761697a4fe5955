"""Build an index of the right kind for a corpus, and load any saved one."""

from pathlib import Path

import numpy as np

from pipelines.config import IndexConfig
from pipelines.errors import AnnIndexError
from pipelines.index.base import AnnIndex, Floats, read_header, recall_at_k
from pipelines.index.brute_force import BruteForceIndex
from pipelines.index.item_to_item import ItemToItemIndex
from pipelines.index.scann_index import MIN_ITEMS, ScannIndex
from pipelines.index.sparse_vectors import SparseVectors


def load_index(folder: Path) -> AnnIndex:
    """Load the index saved in `folder`, whatever its kind.

    Raises:
        AnnIndexError: the kind is unknown, a file is missing or damaged, or sizes differ from the header.
    """
    header = read_header(folder)
    index: AnnIndex
    if header.get("kind") == BruteForceIndex.kind:
        index = BruteForceIndex.load(folder)
    elif header.get("kind") == ScannIndex.kind:
        index = ScannIndex.load(folder, header)
    elif header.get("kind") == ItemToItemIndex.kind:
        index = ItemToItemIndex.load(folder)
    else:
        raise AnnIndexError(
            f"{folder} holds an index of kind {header.get('kind')!r}; expected brute_force, scann or item_to_item"
        )
    sizes = [index.num_items, index.embedding_dim]
    if sizes != [header.get("num_items"), header.get("embedding_dim")]:
        raise AnnIndexError(
            f"{folder} holds {sizes} [num_items, embedding_dim], but its header says otherwise: {header}"
        )
    return index


def build_index(embeddings: Floats | SparseVectors, *, config: IndexConfig) -> AnnIndex:
    """Build exact search below `config.brute_force_below` items, ScaNN from there on; sparse vectors stay sparse."""
    if isinstance(embeddings, SparseVectors):
        return ItemToItemIndex(embeddings)
    if len(embeddings) < max(config.brute_force_below, MIN_ITEMS):
        return BruteForceIndex(embeddings)
    return ScannIndex.build(embeddings)


def tune(index: AnnIndex, queries: Floats, exact: np.ndarray, *, config: IndexConfig) -> None:
    """Let ScaNN search as few leaves as reach the recall floor on `queries`, by doubling.

    Args:
        index: changed in place; an exact index has nothing to tune.
        queries: float32 `[num_queries, embedding_dim]`.
        exact: rows of exact search, int32 `[num_queries, recall_k]`.
        config: floor and k. Half the distance to a recall of 1 is kept as a margin for queries not seen here.
    """
    if not isinstance(index, ScannIndex):
        return
    wanted = (1 + config.min_recall) / 2
    while index.leaves_to_search < index.num_leaves:
        found, _ = index.search(queries, exact.shape[1])
        if recall_at_k(found, exact) >= wanted:
            return
        index.leaves_to_search = min(index.num_leaves, 2 * index.leaves_to_search)
