"""The model as a BentoML service, with and without batching."""

import os

import bentoml
import joblib
import numpy as np
import pandas as pd


class _Model:
    """The pickled pipeline, and the names of its columns."""

    def __init__(self) -> None:
        self._pipeline = joblib.load(os.environ["BENCH_PIPELINE"])

    def labels(self, rows: "np.ndarray") -> list[str]:
        frame = pd.DataFrame(rows, columns=self._pipeline.feature_names_in_)
        return [str(label) for label in self._pipeline.predict(frame)]


@bentoml.service(workers=1)
class Iris:
    """One call of the model for each request."""

    def __init__(self) -> None:
        self._model = _Model()

    @bentoml.api  # type: ignore[untyped-decorator] # unknown where mypy runs
    def predict(self, rows: np.ndarray) -> list[str]:
        """A label for each row."""
        return self._model.labels(rows)


@bentoml.service(workers=1)
class BatchingIris:
    """One call of the model for all pending requests."""

    def __init__(self) -> None:
        self._model = _Model()

    @bentoml.api(batchable=True, max_batch_size=100_000)  # type: ignore[untyped-decorator] # unknown where mypy runs
    def predict(self, rows: np.ndarray) -> list[str]:
        """A label for each row."""
        return self._model.labels(rows)
