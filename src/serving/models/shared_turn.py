"""Rows that arrive in the same iteration of the event loop share a call of the model at its end."""

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from src.serving.models.predictor import Predictor

# The longest that a call may block the event loop; a health check waits for a few of these at most.
INLINE_SECONDS = 0.002


class Waiting(Protocol):
    """A request that waits for the prediction of a row."""

    @property
    def predictor(self) -> Predictor:
        """The model to predict with."""


W = TypeVar("W", bound=Waiting)


class SharedTurn(Generic[W]):
    """Gathers the rows of quick models. There is no timer: a single row is never delayed for others.

    Args:
        answer: called with a model and the requests that wait for it, by the event loop.
    """

    def __init__(self, answer: Callable[[Predictor, list[W]], None]) -> None:
        self._answer = answer
        self._waiting: list[W] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, waiting: W) -> None:
        """Predict a row at the end of this iteration, or of a later one if there are too many."""
        if not self._waiting:
            # Runs after all requests that arrived together with this one: they are scheduled already.
            asyncio.get_running_loop().call_soon(self._end)
        self._waiting.append(waiting)

    def _end(self) -> None:
        """Call one model; rows for another one, after a swap, wait for the next iteration."""
        predictor = self._waiting[0].predictor
        most = predictor.cost.rows_within(INLINE_SECONDS)
        mine: list[W] = []
        others: list[W] = []
        for waiting in self._waiting:
            (mine if waiting.predictor is predictor and len(mine) < most else others).append(waiting)
        self._waiting = others
        if others:
            asyncio.get_running_loop().call_soon(self._end)
        self._answer(predictor, mine)


def is_quick(predictor: Predictor, rows: int) -> bool:
    """Whether a call with so many rows may run on the event loop."""
    return predictor.cost.of(rows) <= INLINE_SECONDS
