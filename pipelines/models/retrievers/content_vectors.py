"""Vectors of items that a model does not know, from their content, in the space of the vectors that it learnt."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.errors import ConfigError
from pipelines.inputs.item_encoder import ItemEncoder
from pipelines.inputs.vocabulary import Vocabulary
from pipelines.models.export import load_onnx, run_onnx
from pipelines.models.vectors import ITEM_TOWER

Floats = NDArray[np.float32]
Arrays = dict[str, NDArray[Any]]
CONTENT = {"categories": "category", "tokens": "token"}  # input of an item -> its vocabulary
PENALTIES = (0.1, 1.0, 10.0)


@dataclass(frozen=True)
class ContentMap:
    """The mean item vector, and what each category and each word of an item adds to it.

    Learned from the items that a model knows, by ridge regression of their vectors on their content (a linear
    attribute-to-feature mapping, Gantner and others, ICDM 2010). An item's categories and words share a length of 1, so
    that an item of many words does not lie further out; what little is known is drawn towards the mean item.

    Attributes:
        mean: mean vector, `[width]`.
        tables: `categories` and `tokens` -> what each adds, zeros for none and unseen ones, `[num_ids, width]`.
        first_known: `categories` and `tokens` -> the first id that is not unseen.
    """

    mean: Floats
    tables: dict[str, Floats]
    first_known: dict[str, int]

    @classmethod
    def fit(cls, vectors: Floats, content: Arrays, vocabularies: dict[str, Vocabulary], *, seed: int) -> "ContentMap":
        """Learn from known items.

        Args:
            vectors: of known items, `[num_items, width]`.
            content: `categories` and `tokens` of the same items, ids padded with 0, `[num_items, ...]`.
            vocabularies: of the two.
            seed: draws the tenth of the items by which the penalty is chosen.
        """
        design = _design(content, vocabularies)
        mean = vectors.mean(axis=0)
        away = (vectors - mean).astype(np.float64)
        held_out = np.random.default_rng(seed).random(len(vectors)) < 0.1

        def error(penalty: float) -> float:
            weights = _ridge(design[~held_out], away[~held_out], penalty)
            return float(((design[held_out] @ weights - away[held_out]) ** 2).sum())

        weights = _ridge(design, away, min(PENALTIES, key=error))
        parts = np.split(weights.astype(np.float32), np.cumsum([vocabularies[name].size for name in CONTENT])[:-1])
        first_known = {name: vocabulary.first_known for name, vocabulary in vocabularies.items()}
        return cls(mean.astype(np.float32), dict(zip(CONTENT, parts, strict=True)), first_known)


def know_new_items_by_content(bundle: Path, items: ItemEncoder, known: pa.Table, *, seed: int) -> None:
    """Rewrite the item side of a bundle: items whose id the model does not know are placed by their content.

    Args:
        bundle: with `item_tower.onnx`, a table of vectors by number.
        items: encoder of the bundle.
        known: item rows, one of each item that the model knows.
        seed: see `ContentMap.fit`.

    Raises:
        ConfigError: the model's item side is sparse, and has no space in which to place an item.
    """
    file = bundle / ITEM_TOWER
    if not file.exists():
        raise ConfigError(
            f"retrieval.content_vectors needs item vectors in full, and {bundle} has sparse ones; leave it out, or "
            "choose a model such as als, item2vec or sasrec"
        )
    inputs = items.encode(known)
    (vectors,) = run_onnx(load_onnx(file), {"item": inputs["item"]}).values()
    content = {name: inputs[name] for name in CONTENT}
    vocabularies = {name: items.vocabularies[vocabulary] for name, vocabulary in CONTENT.items()}
    fitted = ContentMap.fit(vectors, content, vocabularies, seed=seed)
    widths = {name: values.shape[1] for name, values in content.items()}
    _add(file, fitted, widths, first_item=items.vocabularies["item"].first_known)


def _design(content: Arrays, vocabularies: dict[str, Vocabulary]) -> Any:
    """Return categories and words of items in columns, each row divided by the root of how many it has: CSR."""
    import scipy.sparse as sp

    parts = []
    for name, vocabulary in vocabularies.items():
        rows, _ = known = np.nonzero(content[name] >= vocabulary.first_known)
        cells = (np.ones(len(rows)), (rows, content[name][known]))
        parts.append(sp.csr_matrix(cells, shape=(len(content[name]), vocabulary.size)))
    design = sp.hstack(parts, format="csr")
    return sp.diags(1 / np.sqrt(np.maximum(design.sum(axis=1).A1, 1))) @ design


def _ridge(design: Any, wanted: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
    """Return the weights of penalized least squares, by conjugate gradients, a column of vectors at a time."""
    import scipy.sparse.linalg as linalg

    size = design.shape[1]
    normal = linalg.LinearOperator((size, size), matvec=lambda x: design.T @ (design @ x) + penalty * x)
    columns = [linalg.cg(normal, column, rtol=1e-4, maxiter=200)[0] for column in (design.T @ wanted).T]
    return np.stack(columns, axis=1)


def _add(file: Path, fitted: ContentMap, widths: dict[str, int], *, first_item: int) -> None:
    """Let the graph of a table take categories and words, too, and use them where the item is not known."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(file)
    graph, result = model.graph, model.graph.output[0].name
    for node in graph.node:
        node.output[:] = ["learnt" if name == result else name for name in node.output]
    constants: Arrays = {
        "mean": fitted.mean,
        "one": np.ones(1, np.float32),
        "first_item": np.array(first_item, np.int32),
        "places": np.array([1], np.int64),
        "last": np.array([-1], np.int64),
        "widths": np.array([len(fitted.mean), 1], np.int64),
    }
    nodes = []
    for name, table in fitted.tables.items():
        # A last column counts what is known, so that both are gathered and summed at once.
        counts = (np.arange(len(table)) >= fitted.first_known[name]).astype(np.float32)
        constants[f"{name}_table"] = np.concatenate([table, counts[:, None]], axis=1)
        nodes += [
            helper.make_node("Gather", [f"{name}_table", name], [f"{name}_each"], axis=0),
            helper.make_node("ReduceSum", [f"{name}_each", "places"], [f"{name}_sum"], keepdims=0),
        ]
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", widths[name]]))
    nodes += [
        helper.make_node("Add", [f"{name}_sum" for name in CONTENT], ["sums"]),
        helper.make_node("Split", ["sums", "widths"], ["added", "count"], axis=1),
        helper.make_node("Max", ["count", "one"], ["at_least_one"]),
        helper.make_node("Sqrt", ["at_least_one"], ["length"]),
        helper.make_node("Div", ["added", "length"], ["away"]),
        helper.make_node("Add", ["away", "mean"], ["by_content"]),
        helper.make_node("GreaterOrEqual", ["item", "first_item"], ["is_known"]),
        helper.make_node("Unsqueeze", ["is_known", "last"], ["is_known_column"]),
        helper.make_node("Where", ["is_known_column", "learnt", "by_content"], [result]),
    ]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.checker.check_model(model)
    onnx.save(model, file)
