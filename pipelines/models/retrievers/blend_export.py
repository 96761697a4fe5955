"""What serving loads of several models at once: vectors side by side, whose inner product is the weighted sum."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipelines.errors import TrainingError
from pipelines.index.sparse_vectors import SPARSE_FILE, SparseVectors
from pipelines.models.export import load_onnx, run_onnx
from pipelines.models.retrievers.base import Floats, Retriever
from pipelines.models.retrievers.item_side import save_item_vectors
from pipelines.models.retrievers.layout import Layout
from pipelines.models.retrievers.query_graph import QueryGraph
from pipelines.models.retrievers.renumbering import FLOAT
from pipelines.models.vectors import ITEM_TOWER, QUERY_TOWER

MAX_FULL_ITEMS = 10_000  # of sparse vectors written in full: 400 MB
ROUNDING = 1e-6  # of the largest value: what differs less is equal in float32


def save_blend(folder: Path, parts: Sequence[Retriever], factors: Floats, *, layout: Layout, per_query: bool) -> None:
    """Write one query graph and one item side for several models.

    Args:
        folder: of the bundle.
        parts: trained models that can be served.
        factors: of each part's scores, `[num_parts]`.
        layout: how serving numbers items and users.
        per_query: whether a query's scores by a part lose their mean over known items and are divided by their
            deviation. Both follow from the vectors: the deviation is the length of the query times the triangle of
            the centred vectors' QR decomposition.

    Raises:
        TrainingError: sparse vectors would have to be written in full and are too many, or a part cannot be served.
    """
    with TemporaryDirectory() as scratch:
        places = [Path(scratch) / str(number) for number in range(len(parts))]
        for part, place in zip(parts, places, strict=True):
            part.export(place, layout=layout)
        sides = [_item_side(place, layout) for place in places]
        graphs = [place / QUERY_TOWER for place in places]
        if not per_query and all(isinstance(side, SparseVectors) for side in sides):
            save_item_vectors(folder, layout, _sparse(sides)[layout.first_item :])
            _save_query(folder, graphs, factors, [side.width for side in sides], layout=layout)
            return
        full = [_full(part, side, layout) for part, side in zip(parts, sides, strict=True)]
        centred = [_centred(side, layout) for side in full] if per_query else full
        table = np.hstack(centred)
        save_item_vectors(folder, layout, table[layout.first_item :], unseen=table[0])
        triangles = [_triangle(side[layout.first_item :]) for side in centred] if per_query else None
        widths = [side.shape[1] for side in full]
        _save_query(folder, graphs, factors, widths, layout=layout, triangles=triangles)


def _item_side(place: Path, layout: Layout) -> Any:
    """Return vectors of all numbers of items, `[num_numbers, width]`."""
    numbers = np.arange(layout.first_item + layout.num_items, dtype=np.int32)
    if (place / SPARSE_FILE).exists():
        return SparseVectors.load(place / SPARSE_FILE).take(numbers)
    (vectors,) = run_onnx(load_onnx(place / ITEM_TOWER), {"item": numbers}).values()
    return vectors


def _sparse(sides: Sequence[SparseVectors]) -> Any:
    import scipy.sparse as sp

    cells: list[Any] = [sp.csr_matrix((side.values, side.dims, side.offsets), shape=side.shape) for side in sides]
    return sp.hstack(cells).tocsr()


def _full(part: Retriever, side: Any, layout: Layout) -> Floats:
    if not isinstance(side, SparseVectors):
        return np.asarray(side, dtype=np.float32)
    if layout.num_items > MAX_FULL_ITEMS:
        raise TrainingError(
            f"{part.card.name!r} has sparse vectors of {layout.num_items:,} items, which a blend with scale: query, "
            f"or with a part of dense vectors, writes in full; expected at most {MAX_FULL_ITEMS:,} items. Set "
            "scale: model and take parts that are all sparse (such as transitions and item_neighbours) or all dense"
        )
    return side.dense(np.arange(len(side)))


def _centred(side: Floats, layout: Layout) -> Floats:
    """Return vectors less the mean of the known items'; what they have in common is exactly zero then."""
    mean = side[layout.first_item :].mean(axis=0, dtype=np.float64)
    rest = side - mean
    rest[np.abs(rest) < ROUNDING * np.abs(mean)] = 0
    return np.asarray(rest, dtype=np.float32)


def _triangle(side: Floats) -> Floats:
    """Return `R` such that the deviation of `side @ q` is the length of `R q`, `[rank or less, width]`."""
    return np.asarray(np.linalg.qr(side.astype(np.float64), mode="r") / np.sqrt(len(side)), dtype=np.float32)


def _save_query(
    folder: Path,
    files: Sequence[Path],
    factors: Floats,
    widths: Sequence[int],
    *,
    layout: Layout,
    triangles: Sequence[Floats] | None = None,
) -> None:
    """Write the graphs as one: outputs scaled, then side by side."""
    graph = QueryGraph(layout)
    scaled = []
    for number, file in enumerate(files):
        query = graph.include(file)
        if triangles is not None:
            query = _divided(graph, query, triangles[number])
        scaled.append(graph.op("Mul", query, factors[number]))
    graph.save(folder, graph.op("Concat", *scaled, axis=1), sum(widths))


def _divided(graph: QueryGraph, query: str, triangle: Floats) -> str:
    """Divide queries by the deviation of their scores; where there is none, they stay."""
    deviation = graph.op("ReduceL2", graph.op("MatMul", query, triangle.T), np.array([1]), keepdims=1)
    there = graph.op("Cast", graph.op("Greater", deviation, np.float32(0)), to=FLOAT)
    return graph.op("Div", query, graph.op("Add", deviation, graph.op("Sub", np.float32(1), there)))
