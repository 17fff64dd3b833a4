"""Runs few rows through a graph with one matrix, without most of the overhead of a call of ONNX Runtime."""

import struct
import threading
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from src.core.feature_table import Row

# The struct formats of input types.
FORMATS: dict[type[Any], str] = {np.float32: "f", np.float64: "d"}
# With more values, numpy is faster, and the overhead is small compared with the graph's own work.
MOST_VALUES = 256
# numpy's kinds of numbers and booleans; text cannot be bound.
BINDABLE = "biuf"
# Larger outputs are not worth a buffer for each number of rows.
MOST_ANSWERS = 4096


class _Memory(NamedTuple):
    """The buffers that are bound for one number of rows; ``rows`` is the memory of the graph's input."""

    write: Callable[..., None]
    rows: memoryview
    answers: NDArray[Any]
    binding: ort.IOBinding
    inputs: NDArray[Any]  # owns the memory of ``rows``


class BoundGraph:
    """Runs a session with buffers that are bound once for each number of rows.

    Thread-safe: one thread uses the buffers at a time; ``run`` returns None to others.

    Args:
        session: its graph takes one matrix, shape (n, columns).
        name: the input's.
        dtype: the input's, one of ``FORMATS``.
        columns: the number of columns of the matrix.
        output: the output's name; its shape is (n, classes) or (n, 1).
    """

    def __init__(self, session: ort.InferenceSession, name: str, dtype: type[Any], columns: int, output: str) -> None:
        self._session = session
        self._input = name
        self._dtype = dtype
        self._columns = columns
        self._output = output
        # The public method checks on each call for GPU tensors.
        self._call = session._sess.run_with_iobinding  # noqa: SLF001
        self._known: dict[int, _Memory] = {}
        self._lock = threading.Lock()

    def run(self, rows: Sequence[Row]) -> NDArray[Any] | None:
        """The output; None for many rows, for missing values, or while another thread is running."""
        if len(rows) * self._columns > MOST_VALUES or not self._lock.acquire(blocking=False):
            return None
        try:
            memory = self._known.get(len(rows))
            if memory is None:
                return self._first(rows)
            memory.write(memory.rows, 0, *chain.from_iterable(rows))
            self._call(memory.binding._iobinding, None)  # noqa: SLF001
            return memory.answers.copy()
        except struct.error:  # None is not a number
            return None
        finally:
            self._lock.release()

    def _first(self, rows: Sequence[Row]) -> NDArray[Any]:
        """Run the session without buffers, and bind them with the shape and type of the output."""
        inputs: NDArray[Any] = np.empty((len(rows), self._columns), self._dtype)
        write, memory = struct.Struct(f"{inputs.size}{FORMATS[self._dtype]}").pack_into, inputs.data.cast("B")
        write(memory, 0, *chain.from_iterable(rows))
        answers: NDArray[Any] = self._session.run([self._output], {self._input: inputs})[0]
        if answers.dtype.kind in BINDABLE and answers.size <= MOST_ANSWERS:
            room = np.empty_like(answers)
            binding = self._session.io_binding()
            binding.bind_input(self._input, "cpu", 0, self._dtype, inputs.shape, inputs.ctypes.data)
            binding.bind_output(self._output, "cpu", 0, room.dtype.type, room.shape, room.ctypes.data)
            self._known[len(rows)] = _Memory(write, memory, room, binding, inputs)
        return answers
