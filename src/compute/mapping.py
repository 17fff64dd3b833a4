"""Maps a plain function over items and returns each result as soon as it is there."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from src.compute.versions import Versions, differences, versions_here
from src.core.errors import ConfigError, LoopError, first_line

Item = TypeVar("Item")
Result = TypeVar("Result")

# How often an item is tried again after an error that may pass.
RETRIES = 3

logger = logging.getLogger(__name__)


class Outcome(NamedTuple, Generic[Item, Result]):
    """The end of one item: its result, or the error."""

    item: Item
    result: Result | None = None
    error: LoopError | None = None


class Mapper(Protocol):
    """Where functions run."""

    place: str  # for people, such as "in this process"

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Outcome[Item, Result]]:
        """The outcome of each item, in the order of completion.

        A function and its items and results must be picklable. It may be called more than once for an item, also at the
        same time: after an error that is not permanent up to ``RETRIES`` times, and again if its worker is lost.

        Raises:
            ConnectionFailedError: the connection to the scheduler is lost.
        """


class InProcess:
    """Runs functions in this process, one after the other."""

    place = "in this process"

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Outcome[Item, Result]]:
        """See ``Mapper``."""
        for item in items:
            yield self._outcome(function, item)

    def _outcome(self, function: Callable[[Item], Result], item: Item) -> Outcome[Item, Result]:
        for attempt in range(RETRIES + 1):
            try:
                return attempted(function, item, None)
            except Exception as error:  # noqa: BLE001 - of the function; reported below, and to the caller
                found = failure(error)
            if attempt < RETRIES:
                logger.warning("trying again: %s", found)
        return Outcome(item, error=found)


def attempted(function: Callable[[Item], Result], item: Item, versions: Versions | None) -> Outcome[Item, Result]:
    """Run the function once, where this process has the client's versions (None: it is the client).

    Permanent errors are an outcome, and others are raised, so that only those are tried again.
    """
    try:
        if versions is not None and (found := differences(versions, versions_here())):
            raise ConfigError(refusal("a worker", found))
        return Outcome(item, function(item))
    except LoopError as error:
        if not error.permanent:
            raise
        return Outcome(item, error=error)


def refusal(worker: str, found: str) -> str:
    """The message that a worker has other versions."""
    return f"{worker} has other versions than this client: {found}; install the same code and uv.lock on both"


def failure(error: BaseException) -> LoopError:
    """An error of a function as one of this project's."""
    if isinstance(error, LoopError):
        return error
    logger.error("a task failed", exc_info=error)
    return LoopError(f"{type(error).__name__}: {first_line(error)}")
