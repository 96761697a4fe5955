from pathlib import Path

import numpy as np
import pytest

from pipelines.models.export import load_onnx, run_onnx
from pipelines.models.retrievers.layout import Layout
from pipelines.models.retrievers.query_graph import OPSET, QueryGraph
from pipelines.models.retrievers.renumbering import adapt_history
from pipelines.models.vectors import QUERY_TOWER

LAYOUT = Layout(history_length=4, first_item=3, num_items=5, first_user=2, num_users=3)
# Nothing, items 0 and 4 with an unseen one (2) between and after; a full one with a repeat; unseen ones alone.
HISTORY = np.array([[0, 0, 0, 0], [3, 2, 7, 1], [4, 5, 4, 3], [1, 2, 1, 0]], np.int32)
OWN = [[0, 0, 0, 0], [0, 0, 1, 5], [2, 3, 2, 1], [0, 0, 0, 0]]


def run(folder: Path, **inputs: np.ndarray) -> np.ndarray:
    (found,) = run_onnx(load_onnx(folder / QUERY_TOWER), inputs).values()
    return found


def test_a_history_counts_known_items_alone_and_closes_the_gaps(tmp_path):
    graph = QueryGraph(LAYOUT)
    graph.save(tmp_path, graph.op("Cast", graph.history, to=1), 4)
    assert run(tmp_path, history=HISTORY).tolist() == OWN


def test_a_weighted_history_takes_the_newest_of_a_repeated_item(tmp_path):
    graph = QueryGraph(LAYOUT)
    query = graph.weighted_history(np.array([1, 0.5, 0.25, 0.125]), constant=9)
    graph.save(tmp_path, query, 6)
    found = run(tmp_path, history=HISTORY)
    assert found.tolist() == [
        [9, 0, 0, 0, 0, 0],
        [9, 0.5, 0, 0, 0, 1],
        [9, 1, 0.5, 0.25, 0, 0],
        [9, 0, 0, 0, 0, 0],
    ]


def test_a_pooled_history_is_the_weighted_mean_of_what_is_known(tmp_path):
    table = np.arange(12, dtype=np.float32).reshape(6, 2)
    weights = np.array([1, 0.5, 0.25, 0.25], np.float32)
    for mean, divisor in ((True, 1.5), (False, 1.0)):
        graph = QueryGraph(LAYOUT)
        graph.save(tmp_path, graph.pooled_history(table, weights, mean=mean), 2)
        found = run(tmp_path, history=HISTORY)
        np.testing.assert_allclose(found[1], (table[5] + 0.5 * table[1]) / divisor, rtol=1e-6)
        assert found[0].tolist() == [0, 0]


def test_users_are_known_or_nobody(tmp_path):
    graph = QueryGraph(LAYOUT)
    graph.save(tmp_path, graph.lookup(np.eye(4, dtype=np.float32), graph.user), 4)
    found = run(tmp_path, user=np.array([0, 1, 2, 4], np.int32))
    assert found.argmax(axis=1).tolist() == [0, 0, 1, 3]


@pytest.mark.parametrize(
    ("width", "expected"),
    [(4, OWN[1]), (2, [1, 5]), (6, [0, 0, 0, 0, 1, 5])],
    ids=["equal", "shorter", "longer"],
)
def test_a_graph_of_another_length_gets_the_newest_items(tmp_path, width, expected):
    import onnx
    from onnx import TensorProto, helper

    nodes = [helper.make_node("Cast", ["history"], ["query"], to=TensorProto.FLOAT)]
    inputs = [helper.make_tensor_value_info("history", TensorProto.INT64, ["batch", width])]
    outputs = [helper.make_tensor_value_info("query", TensorProto.FLOAT, ["batch", width])]
    graph = helper.make_graph(nodes, "keras", inputs, outputs)
    file = tmp_path / QUERY_TOWER
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9), file)
    adapt_history(file, LAYOUT)
    assert run(tmp_path, history=HISTORY)[1].tolist() == expected
