"""What serving needs of an engine."""

from typing import Protocol

from src.core.predictions import Engine, Label


class ServedEngine(Engine, Protocol):
    """An engine that knows its predictions before the first request."""

    @property
    def labels(self) -> tuple[Label, ...]:
        """The classes as predictions show them, of one type, in the order of ``classes``."""

    @property
    def gives_probabilities(self) -> bool:
        """Whether predictions have probabilities, as far as is known before the first."""
