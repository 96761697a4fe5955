"""The query side of an exported model, built from arrays: one ONNX operator a call."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.contexts import DAYPARTS, HOURS, WEEKDAYS, WEEKEND
from pipelines.models.retrievers.layout import Layout
from pipelines.models.retrievers.renumbering import FLOAT, INT64, renumbering
from pipelines.models.vectors import QUERY_TOWER

Floats = NDArray[np.float32]
OPSET = 18  # the first with the maximum as a reduction of ScatterElements


class QueryGraph:
    """Builds a query tower from arrays, one ONNX operator a call; names of results are strings."""

    def __init__(self, layout: Layout) -> None:
        """Begin a graph for a layout."""
        self.layout = layout
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: dict[str, Any] = {}

    def op(self, kind: str, *inputs: Any, **attributes: Any) -> str:
        """Add one operator and return the name of its result.

        Args:
            kind: of ONNX, such as `MatMul`.
            inputs: names of earlier results, and arrays, which become constants.
            attributes: of the operator.
        """
        from onnx import helper

        name = f"{kind.lower()}_{len(self._nodes)}"
        names = [value if isinstance(value, str) else self.constant(np.asarray(value)) for value in inputs]
        self._nodes.append(helper.make_node(kind, names, [name], **attributes))
        return name

    @cached_property
    def history(self) -> str:
        """Known items of the history plus one, oldest first, 0 before them: int32 `[batch, history_length]`."""
        return self._renumbered("history", ["batch", self.layout.history_length])

    @cached_property
    def user(self) -> str:
        """The known user plus one, 0 for anybody else: int32 `[batch]`."""
        return self._renumbered("user", ["batch"])

    @cached_property
    def attributes(self) -> str:
        """Numbers of the user's attributes, 0 after the last: int32 `[batch, num_attributes]`."""
        self._input("attributes", ["batch", "num_attributes"])
        return "attributes"

    @cached_property
    def conditions(self) -> str:
        """1 where the query is under a condition: float32 `[batch, num_conditions]`, in the order of `Contexts.of`.

        The clock reaches a query tower as sine and cosine of hour and weekday, the last columns of `query_numbers`.
        """
        from onnx import TensorProto

        self._input("query_numbers", ["batch", "num_query_numbers"], TensorProto.FLOAT)
        self._input("device", ["batch"])
        devices = self.layout.first_device + np.arange(self.layout.num_devices, dtype=np.int32)
        device = self.op("Equal", self.op("Unsqueeze", "device", np.array([1])), devices[None])
        parts = [self._on_the_clock(-4, HOURS, DAYPARTS), self._on_the_clock(-2, WEEKDAYS, WEEKEND)]
        return self.op("Concat", *parts, self.op("Cast", device, to=FLOAT), axis=1)

    def _on_the_clock(self, column: int, period: int, groups: NDArray[Any]) -> str:
        """Return 1 at the group of the whole number whose sine and cosine stand in two columns, `[batch, num_groups]`.

        The inner product with those of the number itself is 1, and with its neighbours' the cosine of a step.
        """
        angles = 2 * np.pi * np.arange(period) / period
        directions = np.stack([np.sin(angles), np.cos(angles)]).astype(np.float32)
        pair = self.op("Gather", "query_numbers", np.array([column, column + 1]), axis=1)
        halfway = np.float32((1 + np.cos(2 * np.pi / period)) / 2)
        one_hot = self.op("Cast", self.op("Greater", self.op("MatMul", pair, directions), halfway), to=FLOAT)
        return self.op("MatMul", one_hot, np.eye(groups.max() + 1, dtype=np.float32)[groups])

    def lookup(self, table: NDArray[Any], codes: str) -> str:
        """Return rows of a table whose row 0 stands for nothing."""
        return self.op("Gather", table, codes, axis=0)

    def weighted_history(self, weights: NDArray[Any], *, constant: float = 0.0) -> str:
        """Return the history as a vector over items, where a repeated item counts with its largest weight.

        Args:
            weights: not negative, of an item by its age, newest first, `[history_length]`.
            constant: stands in place 0, for what does not depend on the history.

        Returns:
            float32 `[batch, 1 + num_items]`; item `i` is in place `1 + i`.
        """
        rows = self.op("Shape", self.history, start=0, end=1)
        width = 1 + self.layout.num_items
        blank = self.op("Expand", np.float32(0), self.op("Concat", rows, np.array([width]), axis=0))
        aged = self.op("Expand", weights[::-1].astype(np.float32), self.op("Shape", self.history))
        places = self.op("Cast", self.history, to=INT64)
        items = self.op("ScatterElements", blank, places, aged, axis=1, reduction="max")
        # Whatever padding left in place 0 gives way to the constant.
        keep, first = np.ones(width, np.float32), np.zeros(width, np.float32)
        keep[0], first[0] = 0.0, constant
        return self.op("Add", self.op("Mul", items, keep), first)

    @cached_property
    def distinct(self) -> str:
        """1 where an item of the history stands for the last time, else 0: float32 `[batch, history_length]`."""
        length = self.layout.history_length
        rows, columns = (self.op("Unsqueeze", self.history, np.array([axis])) for axis in (2, 1))
        equal = self.op("Cast", self.op("Equal", rows, columns), to=FLOAT)
        later = np.triu(np.ones((length, length), np.float32), k=1)
        repeated = self.op("ReduceMax", self.op("Mul", equal, later), np.array([2]), keepdims=0)
        known = self.op("Cast", self.op("Greater", self.history, np.int32(0)), to=FLOAT)
        return self.op("Mul", known, self.op("Sub", np.float32(1), repeated))

    def repeated(self, values: NDArray[Any]) -> str:
        """Return the same values for every query, float32 `[batch, width]`."""
        shape = self.op("Concat", self.op("Shape", self.history, start=0, end=1), np.array([len(values)]), axis=0)
        return self.op("Expand", values.astype(np.float32)[None], shape)

    def largest(self, matrix: str, count: int) -> str:
        """Return a matrix whose rows keep their `count` largest values, of equal ones the first; others are 0."""
        from onnx import helper

        top = f"top_{len(self._nodes)}"
        size = self.constant(np.array([count]))
        self._nodes.append(helper.make_node("TopK", [matrix, size], [top, f"{top}_places"], axis=1))
        return self.op("ScatterElements", self.op("Mul", matrix, np.float32(0)), f"{top}_places", top, axis=1)

    def pooled_history(self, table: Floats, weights: NDArray[Any], *, mean: bool = True) -> str:
        """Return the weighted mean, or sum, of the history's vectors, float32 `[batch, width]`; zeros for no history.

        Args:
            table: vector of nothing, then of each item, `[1 + num_items, width]`.
            weights: of an item by its age, newest first, `[history_length]`.
            mean: divide by the sum of the weights.
        """
        known = self.op("Cast", self.op("Greater", self.history, np.int32(0)), to=FLOAT)
        weighted = self.op("Mul", known, weights[::-1].astype(np.float32))
        columns = self.op("Unsqueeze", weighted, np.array([2]))
        total = self.op(
            "ReduceSum", self.op("Mul", self.lookup(table, self.history), columns), np.array([1]), keepdims=0
        )
        if not mean:
            return total
        divisor = self.op("Max", self.op("ReduceSum", weighted, np.array([1]), keepdims=1), np.float32(1e-12))
        return self.op("Div", total, divisor)

    def include(self, file: Path) -> str:
        """Add another query graph, which reads the same inputs, and return the name of its output."""
        import onnx
        from onnx import compose, version_converter

        model = onnx.load(file)
        if any(entry.domain == "" and entry.version != OPSET for entry in model.opset_import):
            model = version_converter.convert_version(model, OPSET)
        graph = compose.add_prefix(model, f"graph_{len(self._nodes)}.", rename_inputs=False).graph
        self._nodes += graph.node
        self._constants += graph.initializer
        self._inputs |= {value.name: value for value in graph.input}
        return str(graph.output[0].name)

    def save(self, folder: Path, output: str, width: int) -> None:
        """Write `query_tower.onnx` with one output, float32 `[batch, width]`."""
        import onnx
        from onnx import TensorProto, helper

        name = "query"
        nodes = [*self._nodes, helper.make_node("Identity", [output], [name])]
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])]
        graph = helper.make_graph(nodes, name, list(self._inputs.values()), outputs, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        onnx.checker.check_model(model, full_check=True)
        folder.mkdir(parents=True, exist_ok=True)
        onnx.save(model, folder / QUERY_TOWER)

    def _renumbered(self, name: str, shape: list[Any]) -> str:
        self._input(name, shape)
        nodes, constants, result = renumbering(name, self.layout)
        self._nodes += nodes
        self._constants += constants
        return result

    def _input(self, name: str, shape: list[Any], kind: int | None = None) -> None:
        from onnx import TensorProto, helper

        self._inputs[name] = helper.make_tensor_value_info(name, kind or TensorProto.INT32, shape)

    def constant(self, value: NDArray[Any]) -> str:
        """Add a constant and return its name, for one that several operators read."""
        from onnx import numpy_helper

        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name
