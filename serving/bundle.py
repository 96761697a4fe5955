"""A release in memory: immutable, so that a swap is one assignment and a request sees one release or the other."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config import RulesConfig
from pipelines.contracts import ITEM_ID, ModelVersion
from pipelines.errors import IntegrityError
from pipelines.index.base import AnnIndex
from pipelines.index.loading import load_index
from pipelines.inputs.query_encoder import QueryEncoder
from pipelines.inputs.ranking_encoder import RankingEncoder
from pipelines.release import manifest as layout

Arrays = dict[str, npt.NDArray[Any]]


class Graph:
    """An ONNX graph, run by one thread: requests run beside each other, not against each other."""

    def __init__(self, path: Path) -> None:
        """Load the graph.

        Raises:
            IntegrityError: it is not a graph that onnxruntime can run.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no common base class for its errors
            raise IntegrityError(
                f"{path.name} cannot be run by onnxruntime ({error}); train the model again"
            ) from error
        self._inputs = [i.name for i in self._session.get_inputs()]
        self._outputs = [o.name for o in self._session.get_outputs()]

    def run(self, inputs: Arrays) -> Arrays:
        """Return output name -> array. Inputs the graph does not name are left out."""
        values = self._session.run(self._outputs, {name: inputs[name] for name in self._inputs})
        return dict(zip(self._outputs, values, strict=True))


@dataclass(frozen=True)
class Catalogue:
    """The items of a release; row `i` is row `i` of the index.

    Attributes:
        features: `item_id` and item features, one row an item.
        ids: item ids `[num_items]`.
        titles: titles `[num_items]`, None where there is none.
        rows: item id -> row.
        categories: categories of each item `[num_items]`.
        hidden: bool `[num_items]`, items that are blocked or not available.
        popular: rows, most popular first.
    """

    features: pa.Table
    ids: list[str]
    titles: list[str | None]
    rows: dict[str, int]
    categories: pa.Array
    hidden: npt.NDArray[np.bool_]
    popular: npt.NDArray[np.int32]

    @property
    def num_items(self) -> int:
        """Items in the release."""
        return len(self.ids)


@dataclass(frozen=True)
class Bundle:
    """All that answers a request, from one release."""

    model: ModelVersion
    manifest: layout.ReleaseManifest
    rules: RulesConfig
    query_encoder: QueryEncoder
    query_tower: Graph
    ranking_encoder: RankingEncoder
    ranker: Graph
    index: AnnIndex
    catalogue: Catalogue
    item_inputs: Arrays
    shared_query_inputs: bool


def load_bundle(folder: Path, model: ModelVersion) -> Bundle:
    """Verify a release folder and load it.

    Item inputs of the ranker are encoded here, once: a request only picks rows of them.

    Raises:
        IntegrityError: bytes differ from the manifest, tower and index do not belong together, or a part
            cannot be loaded.
    """
    manifest = layout.verify_release(folder)
    index = load_index(folder / layout.INDEX)
    rules = RulesConfig.model_validate_json((folder / layout.RULES).read_bytes())
    catalogue = _catalogue(folder, rules)
    shapes = [index.num_items, catalogue.num_items, manifest.index.num_items]
    if len(set(shapes)) != 1:
        raise IntegrityError(f"index, items and manifest count {shapes} items; run `tandem build-index` again")
    ranking_encoder = RankingEncoder.load(folder / layout.RANKING_INPUTS)
    return Bundle(
        model=model,
        manifest=manifest,
        rules=rules,
        query_encoder=QueryEncoder.load(folder / layout.QUERY_INPUTS),
        query_tower=Graph(folder / layout.QUERY_TOWER),
        ranking_encoder=ranking_encoder,
        ranker=Graph(folder / layout.RANKER),
        index=index,
        catalogue=catalogue,
        item_inputs=ranking_encoder.item.encode(catalogue.features),
        shared_query_inputs=_same_files(manifest.files, layout.QUERY_INPUTS, f"{layout.RANKING_INPUTS}/query"),
    )


def _catalogue(folder: Path, rules: RulesConfig) -> Catalogue:
    items = pq.read_table(folder / layout.ITEMS).combine_chunks()
    ids = items[ITEM_ID].to_pylist()
    rows = {item_id: row for row, item_id in enumerate(ids)}
    if len(rows) != len(ids):
        raise IntegrityError(f"items.parquet holds {len(ids)} rows but {len(rows)} ids; run `tandem build-index` again")
    hidden = np.zeros(len(ids), dtype=bool)
    hidden[[rows[item_id] for item_id in rules.blocked_items if item_id in rows]] = True
    if "available" in items.column_names:
        hidden |= ~items["available"].fill_null(True).to_numpy().astype(bool)
    popular = pq.read_table(folder / layout.POPULAR, columns=[ITEM_ID])[ITEM_ID].to_pylist()
    titles = items["title"].to_pylist() if "title" in items.column_names else [None] * len(ids)
    return Catalogue(
        features=items,
        ids=ids,
        titles=titles,
        rows=rows,
        categories=_categories(items),
        hidden=hidden,
        popular=np.array([rows[item_id] for item_id in popular if item_id in rows], dtype=np.int32),
    )


def _categories(items: pa.Table) -> pa.Array:
    if "categories" not in items.column_names:
        return pa.nulls(items.num_rows, pa.list_(pa.string()))
    column = items["categories"].combine_chunks()
    return pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column


def _same_files(files: dict[str, str], left: str, right: str) -> bool:
    """Whether two folders of a release hold the same bytes, so that one encoding of a query serves both models."""

    def below(folder: str) -> dict[str, str]:
        prefix = folder + "/"
        return {name.removeprefix(prefix): digest for name, digest in files.items() if name.startswith(prefix)}

    return below(left) == below(right)
