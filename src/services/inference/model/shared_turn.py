"""Rows that come in during one turn of the event loop share a call of the model at its end."""

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from src.services.inference.model.predictor import Predictor

# What may hold up the event loop at a time: a health check waits no longer than for a few of these.
INLINE_SECONDS = 0.002


class Waiting(Protocol):
    """Whoever waits for the answer to a row."""

    @property
    def predictor(self) -> Predictor:
        """The model that shall answer."""


W = TypeVar("W", bound=Waiting)


class SharedTurn(Generic[W]):
    """Gathers quick models' rows. There is no timer and no company to wait for: a lone row's turn ends at once.

    Args:
        answer: called with a model and those who wait for it, by the event loop.
    """

    def __init__(self, answer: Callable[[Predictor, list[W]], None]) -> None:
        self._answer = answer
        self._waiting: list[W] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, waiting: W) -> None:
        """Have a row answered at the end of this turn, or of a later one where there are too many for it."""
        if not self._waiting:
            # Runs behind all that came in with this one: they are scheduled already.
            asyncio.get_running_loop().call_soon(self._end)
        self._waiting.append(waiting)

    def _end(self) -> None:
        """One call for one model; another one, where a swap came in between, has the next turn."""
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
    """Whether a call with so many rows may hold up the event loop."""
    return predictor.cost.of(rows) <= INLINE_SECONDS
