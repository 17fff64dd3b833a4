"""A loaded model: its input schema and its graph, proven on its golden rows, ready to answer."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ValidationError

from src.core.errors import InvalidModelError
from src.core.feature_schema import FeatureSchema
from src.core.mlmodel import read_mlmodel
from src.core.model_registry import (
    DRIFT_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    MLMODEL_FILE,
    ONNX_FILE,
    GoldenRows,
    verify_manifest,
)
from src.core.onnx_classifier import DECIMALS, OnnxClassifier, labels_from
from src.services.inference.model_version import ModelVersion
from src.services.inference.schemas import RecordDecoder

# The files of a registered model that serving reads; the manifest comes first, as what vouches for the others.
SERVED_FILES = (MANIFEST_FILE, MLMODEL_FILE, ONNX_FILE, GOLDEN_FILE, DRIFT_FILE)
WARM_UP_ROUNDS = 20

Source = Literal["registry", "cache"]


@dataclass(frozen=True)
class Predictor:
    """A model that can answer. Safe to share between tasks: it never changes.

    Attributes:
        example: one golden row by column.
        source: where its files came from.
    """

    version: ModelVersion
    schema: FeatureSchema
    classifier: OnnxClassifier
    decoder: RecordDecoder
    example: dict[str, float]
    source: Source
    loaded_at: datetime

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        return self.classifier.classes

    def predict(self, values: tuple[float, ...]) -> tuple[str, dict[str, float]]:
        """The class's name and each class's probability for one row, in the schema's column order."""
        probabilities = self.classifier.probabilities(np.array((values,), dtype=np.float64))
        label = self.classes[int(labels_from(probabilities)[0])]
        # To the places that decide the label: a float32 graph's further ones are noise, such as 0.999999 for 1.
        shown = (round(value, DECIMALS) for value in probabilities[0].tolist())
        return label, dict(zip(self.classes, shown, strict=True))


def load_predictor(directory: Path, version: ModelVersion, source: Source) -> Predictor:
    """Verify, load, prove and warm a model. Blocking: call it in a thread.

    Args:
        directory: holds ``SERVED_FILES``.
        version: whose manifest digest the files must match.
        source: where the files came from.

    Raises:
        InvalidModelError: saying which part of the model's contract is broken.
        OSError: the files cannot be read.
    """
    verify_manifest(directory, version.manifest_sha256, tuple(name for name in SERVED_FILES if name != MANIFEST_FILE))
    schema, classes = read_mlmodel(directory)
    try:
        golden = GoldenRows.model_validate_json((directory / GOLDEN_FILE).read_bytes())
    except ValidationError as error:
        raise InvalidModelError(f"{GOLDEN_FILE} does not hold golden rows") from error
    if not all(len(row) == len(schema.columns) for row in golden.rows):
        raise InvalidModelError("the model's golden rows and its signature differ in their columns")
    classifier = OnnxClassifier(directory / ONNX_FILE, classes)
    classifier.verify(golden)
    predictor = Predictor(
        version=version,
        schema=schema,
        classifier=classifier,
        decoder=RecordDecoder(schema),
        example=dict(zip(schema.columns, golden.rows[0], strict=True)),
        source=source,
        loaded_at=datetime.now(UTC),
    )
    _warm(predictor, golden)
    return predictor


def _warm(predictor: Predictor, golden: GoldenRows) -> None:
    """Make the first request as fast as the others, and see that single rows pass as the golden batch did."""
    try:
        for index in range(WARM_UP_ROUNDS):
            predictor.predict(tuple(golden.rows[index % len(golden.rows)]))
    except Exception as error:  # a graph or class list of another shape fails in many ways, all meaning this
        raise InvalidModelError("the model cannot answer a single row") from error
