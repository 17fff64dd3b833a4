"""With bound buffers, few rows get bitwise the same predictions as from the session itself."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import NodeProto, TensorProto, helper

from src.core.bound_graph import MOST_ANSWERS, MOST_VALUES, BoundGraph
from src.core.feature_table import Row

COLUMNS = 4
MOST_ROWS = MOST_VALUES // COLUMNS
RNG = np.random.default_rng(7)


def session_of(
    nodes: list[NodeProto], given: tuple[int, int], answers: tuple[int, int], *constants: TensorProto
) -> ort.InferenceSession:
    """A graph from a matrix x to a matrix y, each of a type and so many columns."""
    x, y = (
        helper.make_tensor_value_info(name, kind, [None, wide]) for name, kind, wide in (("x", *given), ("y", *answers))
    )
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def session(kind: int) -> ort.InferenceSession:
    """Returns each row and its negative, in the columns' order."""
    nodes = [helper.make_node("Neg", ["x"], ["n"]), helper.make_node("Concat", ["x", "n"], ["y"], axis=1)]
    return session_of(nodes, (kind, COLUMNS), (kind, 2 * COLUMNS))


@pytest.fixture
def bound() -> BoundGraph:
    return BoundGraph(session(TensorProto.FLOAT), "x", np.float32, COLUMNS, "y")


def some(count: int) -> list[Row]:
    return [tuple(row) for row in RNG.normal(size=(count, COLUMNS)).tolist()]


@pytest.mark.parametrize(("kind", "dtype"), [(TensorProto.FLOAT, np.float32), (TensorProto.DOUBLE, np.float64)])
@pytest.mark.parametrize("count", [1, 2, 7, MOST_ROWS])
def test_answers_are_those_of_the_session_to_the_last_bit(kind: int, dtype: Any, count: int) -> None:
    graph = BoundGraph(session(kind), "x", dtype, COLUMNS, "y")
    for rows in (some(count), some(count), [(True, 2, 2**31 - 1, 3.3e38)] * count):
        given = np.array(rows, dtype)
        answers = graph.run(rows)
        assert answers is not None
        assert answers.dtype == dtype
        assert answers.tobytes() == np.hstack([given, -given]).tobytes()


def test_answers_stay_as_they_were_given(bound: BoundGraph) -> None:
    first = bound.run([(1, 2, 3, 4)])
    bound.run([(5, 6, 7, 8)])
    assert first is not None
    assert first.tolist() == [[1, 2, 3, 4, -1, -2, -3, -4]]


def test_many_rows_and_missing_values_go_the_ordinary_way(bound: BoundGraph) -> None:
    assert bound.run(some(MOST_ROWS + 1)) is None
    assert bound.run([(1.0, None, 3.0, 4.0)]) is None
    assert bound.run([(1.0, 2.0, 3.0, 4.0)]) is not None


def test_graph_computes_only_the_given_rows() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64),
        helper.make_node("Sub", ["i", "one"], ["k"]),
        # Refuses what is not in 0 to 2, so that a row of zeros fails.
        helper.make_node("Gather", ["table", "k"], ["y"]),
    ]
    values = [helper.make_tensor("one", TensorProto.INT64, [1], [4]), helper.make_tensor("table", 1, [3], [7, 8, 9])]
    made = session_of(nodes, (TensorProto.FLOAT, 1), (TensorProto.FLOAT, 1), *values)
    picky = BoundGraph(made, "x", np.float32, 1, "y")
    for value, expected in ((4, 7), (6, 9), (5, 8)):
        found = picky.run([(value,)])
        assert found is not None
        assert found.tolist() == [[expected]]


@pytest.mark.parametrize(("kind", "wide"), [(TensorProto.STRING, 1), (TensorProto.FLOAT, MOST_ANSWERS + 1)])
def test_text_and_many_answers_are_not_bound_and_come_all_the_same(kind: int, wide: int) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["c"], to=kind), helper.make_node("Tile", ["c", "times"], ["y"])]
    times = helper.make_tensor("times", TensorProto.INT64, [2], [1, wide])
    made = session_of(nodes, (TensorProto.FLOAT, 1), (kind, wide), times)
    unbound = BoundGraph(made, "x", np.float32, 1, "y")
    for value in (1, 2):
        found = unbound.run([(value,)])
        assert found is not None
        assert found.shape == (1, wide)
        assert float(found[0, -1]) == value


def test_threads_do_not_meet_in_the_memory(bound: BoundGraph) -> None:
    together = threading.Barrier(4)

    def ask(number: int) -> set[float]:
        together.wait()
        answers = [bound.run([(number,) * COLUMNS] * 8) for _ in range(5000)]
        return {value for found in answers if found is not None for value in found[:, 0].tolist()}

    with ThreadPoolExecutor(4) as threads:
        answered = list(threads.map(ask, range(4)))
    assert all(found <= {number} for number, found in enumerate(answered))
    assert any(answered)
