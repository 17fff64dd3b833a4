"""Few rows through a graph of one matrix, without most of what a call of ONNX Runtime costs besides the graph."""

import struct
import threading
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from src.core.feature_table import Row

# As struct writes an input's numbers; NaN and infinity are for numpy to make.
FORMATS: dict[type[Any], str] = {np.float32: "f", np.float64: "d"}
# More than these are written sooner by numpy, and the calls cost little beside the graph's work.
MOST_VALUES = 256
# What numpy calls numbers and booleans; text has no memory to be written to.
BINDABLE = "biuf"
# More answers are not worth memory of their own for each number of rows.
MOST_ANSWERS = 4096


class _Memory(NamedTuple):
    """What is bound for one number of rows; ``rows`` is the memory of the graph's input."""

    write: Callable[..., None]
    rows: memoryview
    answers: NDArray[Any]
    binding: ort.IOBinding
    inputs: NDArray[Any]  # it owns what ``rows`` shows


class BoundGraph:
    """Runs a session on memory that was bound to it once for each number of rows.

    Safe to share between threads: one has the memory at a time, others are told to go the ordinary way.

    Args:
        session: its graph takes one matrix, shape (n, columns).
        name: the input's.
        dtype: the input's, one of ``FORMATS``.
        columns: how many the matrix has.
        output: the name of the answers, shape (n, classes) or (n, 1).
    """

    def __init__(self, session: ort.InferenceSession, name: str, dtype: type[Any], columns: int, output: str) -> None:
        self._session = session
        self._input = name
        self._dtype = dtype
        self._columns = columns
        self._output = output
        # The public method looks on each call for what only graphs on graphics cards have.
        self._call = session._sess.run_with_iobinding  # noqa: SLF001
        self._known: dict[int, _Memory] = {}
        self._lock = threading.Lock()

    def run(self, rows: Sequence[Row]) -> NDArray[Any] | None:
        """The answers, or None where the rows are many, lack a value, or come while another thread is here."""
        if len(rows) * self._columns > MOST_VALUES or not self._lock.acquire(blocking=False):
            return None
        try:
            memory = self._known.get(len(rows))
            if memory is None:
                return self._first(rows)
            memory.write(memory.rows, 0, *chain.from_iterable(rows))
            self._call(memory.binding._iobinding, None)  # noqa: SLF001
            return memory.answers.copy()
        except struct.error:  # None is no number
            return None
        finally:
            self._lock.release()

    def _first(self, rows: Sequence[Row]) -> NDArray[Any]:
        """The ordinary answers: how many there are to so many rows, and of which type, the graph itself knows best."""
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
