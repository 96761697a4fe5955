"""ONNX nodes that turn serving's numbers into a model's own, at the head of any graph."""

from pathlib import Path
from typing import Any

import numpy as np

from pipelines.models.retrievers.layout import Layout

FLOAT, INT64 = 1, 7  # of onnx.TensorProto, which is imported where it is used


def adapt_history(file: Path, layout: Layout) -> None:
    """Rewrite a query graph whose `history` is in the model's own numbers so that it reads serving's.

    The graph, such as one that `export_onnx` wrote, takes `history`: 0 for nothing and `1 + item`, right-aligned.
    Items that the model does not know are taken out and the gaps closed; a graph of another length than
    `layout.history_length` gets the newest items, or zeros before them. An input `user` is renumbered likewise.
    """
    import onnx
    from onnx import helper

    model = onnx.load(file)
    graph = model.graph
    inputs = {value.name: value for value in graph.input}
    added: list[Any] = []
    for name in ("history", "user"):
        if name not in inputs:
            continue
        nodes, constants, result = renumbering(name, layout)
        wanted = inputs[name].type.tensor_type
        if name == "history":
            width = wanted.shape.dim[1].dim_value or layout.history_length
            fitted, more, result = _fit_width(result, layout.history_length, width)
            nodes, constants = nodes + fitted, constants + more
            wanted.shape.dim[1].dim_value = layout.history_length
        nodes.append(helper.make_node("Cast", [result], [f"{name}_known"], to=wanted.elem_type))
        wanted.elem_type = onnx.TensorProto.INT32
        for node in graph.node:
            node.input[:] = [f"{name}_known" if value == name else value for value in node.input]
        added += nodes
        graph.initializer.extend(constants)
    kept = list(graph.node)
    del graph.node[:]
    graph.node.extend([*added, *kept])
    del graph.value_info[:]
    onnx.checker.check_model(model)
    onnx.save(model, file)


def renumbering(name: str, layout: Layout) -> tuple[list[Any], list[Any], str]:
    """Return nodes, constants and the name of the result that turn serving's `history` or `user` into the model's."""
    return (_history_renumbering if name == "history" else _user_renumbering)(name, layout)


def _history_renumbering(name: str, layout: Layout) -> tuple[list[Any], list[Any], str]:
    """Return nodes and constants that turn serving's history into known items plus one, without gaps."""
    from onnx import helper, numpy_helper

    length = layout.history_length
    values = {
        "before_first": np.array(layout.first_item - 1, np.int32),
        "nothing": np.array(0, np.int32),
        "length": np.array(length, np.int64),
        "length_list": np.array([length], np.int64),
        "position": np.arange(length, dtype=np.int64),
    }
    constants = [numpy_helper.from_array(value, f"{name}.{key}") for key, value in values.items()]

    def node(kind: str, inputs: list[str], *outputs: str, **attributes: Any) -> Any:
        names = [f"{name}.{value}" if value else name for value in inputs]
        return helper.make_node(kind, names, [f"{name}.{value}" for value in outputs], **attributes)

    nodes = [
        node("Sub", ["", "before_first"], "shifted"),
        node("Max", ["shifted", "nothing"], "gapped"),
        # Known items keep their order behind all gaps: sorted by position, plus the length where known.
        node("Greater", ["gapped", "nothing"], "is_known"),
        node("Cast", ["is_known"], "known_number", to=INT64),
        node("Mul", ["known_number", "length"], "later"),
        node("Add", ["later", "position"], "place"),
        node("TopK", ["place", "length_list"], "sorted", "order", axis=1, largest=0, sorted=1),
        node("GatherElements", ["gapped", "order"], "known", axis=1),
    ]
    return nodes, constants, f"{name}.known"


def _user_renumbering(name: str, layout: Layout) -> tuple[list[Any], list[Any], str]:
    from onnx import helper, numpy_helper

    constants = [
        numpy_helper.from_array(np.array(layout.first_user - 1, np.int32), f"{name}.before_first"),
        numpy_helper.from_array(np.array(0, np.int32), f"{name}.nothing"),
    ]
    nodes = [
        helper.make_node("Sub", [name, f"{name}.before_first"], [f"{name}.shifted"]),
        helper.make_node("Max", [f"{name}.shifted", f"{name}.nothing"], [f"{name}.own"]),
    ]
    return nodes, constants, f"{name}.own"


def _fit_width(name: str, given: int, wanted: int) -> tuple[list[Any], list[Any], str]:
    """Return nodes and constants that cut a matrix to its last columns, or put zeros before its first."""
    from onnx import helper, numpy_helper

    if wanted == given:
        return [], [], name
    result = f"{name}.fitted"
    if wanted > given:
        pads = numpy_helper.from_array(np.array([0, wanted - given, 0, 0], np.int64), f"{name}.pads")
        return [helper.make_node("Pad", [name, pads.name], [result])], [pads], result
    bounds = {"starts": given - wanted, "ends": given, "axes": 1}
    constants = [numpy_helper.from_array(np.array([v], np.int64), f"{name}.{key}") for key, v in bounds.items()]
    return [helper.make_node("Slice", [name, *(value.name for value in constants)], [result])], constants, result
