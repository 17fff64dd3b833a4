"""An engine with a fault, around the one of a served model."""

from collections.abc import Callable
from typing import Any

from src.core.feature_table import FeatureTable


class Faulty:
    """An engine that does something with each table before it predicts it."""

    def __init__(self, engine: Any, before: Callable[[FeatureTable], None]) -> None:
        self._engine = engine
        self._before = before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def predict(self, table: FeatureTable) -> Any:
        self._before(table)
        return self._engine.predict(table)


def always(_: FeatureTable) -> None:
    raise ValueError("made up")


def on_wide_sepals(table: FeatureTable) -> None:
    if (table.columns[1] > 4.0).any():
        raise ValueError("made up")
