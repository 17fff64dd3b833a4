"""Reads a model's ``MLmodel`` file, for the gate and for serving."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from src.core.errors import InvalidModelError
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.model_registry import (
    METADATA_CLASSES,
    METADATA_CODE,
    METADATA_COLUMNS,
    METADATA_THRESHOLD,
    MLMODEL_FILE,
)
from src.core.predictions import Threshold

ONNX_FLAVOUR = "onnx"
PYFUNC_FLAVOUR = "python_function"
# The output types of a signature that are labels; the last three are numpy's, used for arrays.
LABEL_TYPES = {"string", "boolean", "str", "object", "bool"}
BOOLEAN_TYPES = {"boolean", "bool"}
# The metadata's type of columns that identify rows, and the signature's type of dates.
ID = "id"
DATE_TYPE = "double"
HOW_TO_SIGN = (
    "log it again with signature=mlflow.models.infer_signature(frame, model.predict(frame)), "
    "frame being a pandas DataFrame with named columns"
)


@dataclass(frozen=True)
class ModelDescription:
    """The content of an ``MLmodel`` file.

    Attributes:
        classes: the metadata's class names in the order of the probabilities; None where they are not listed.
        flavours: the names of the model's flavours.
        answers: the signature's output type; None where there is not exactly one.
        example_file: an input example in MLflow's ``split`` form, relative to the model's directory.
        threshold: the label rule, if it is not the largest probability.
        code_sha256: of the ``src/pipeline`` whose classes the model uses, if it uses any.
    """

    schema: FeatureSchema
    classes: tuple[str, ...] | None
    flavours: frozenset[str]
    answers: str | None
    example_file: str | None
    threshold: Threshold | None = None
    code_sha256: str | None = None

    @property
    def answers_labels(self) -> bool:
        """Whether the signature's output type is a type of labels."""
        return self.answers in LABEL_TYPES


def describe(directory: Path) -> ModelDescription:
    """Read the description of the model in this directory.

    Raises:
        InvalidModelError: its ``MLmodel`` is invalid, or serving does not support its signature or classes.
        OSError: it cannot be read.
    """
    try:
        content: Any = yaml.safe_load((directory / MLMODEL_FILE).read_text(encoding="utf-8"))
        flavours = frozenset(map(str, content.get("flavors") or {}))
        signature = content.get("signature") or {}
        metadata = content.get("metadata") or {}
        classes, columns = metadata.get(METADATA_CLASSES), metadata.get(METADATA_COLUMNS)
        threshold, code = metadata.get(METADATA_THRESHOLD), metadata.get(METADATA_CODE)
        example = content.get("saved_input_example_info") or {}
        is_split = example.get("type") == "dataframe" and example.get("pandas_orient") == "split"
        example_file = str(example["artifact_path"]) if is_split else None
        inputs, outputs = signature.get("inputs"), signature.get("outputs")
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError) as error:
        raise InvalidModelError(f"{MLMODEL_FILE} is not MLflow's description of a model") from error
    schema = _with_metadata(_schema(inputs), columns or {})
    names = _classes(classes)
    return ModelDescription(
        schema,
        names,
        flavours,
        _type_of_answers(outputs),
        example_file,
        _threshold(threshold, names or ()),
        None if code is None else str(code),
    )


def read_mlmodel(directory: Path) -> tuple[FeatureSchema, tuple[str, ...]]:
    """The input schema and the class names of a model of this pipeline.

    The names are in the order of the probabilities; empty for a regression.

    Raises:
        InvalidModelError: its ``MLmodel`` lacks them, or they violate the contract.
        OSError: it cannot be read.
    """
    found = describe(directory)
    if found.classes is None:
        raise InvalidModelError(f"the metadata in {MLMODEL_FILE} lacks {METADATA_CLASSES}")
    return found.schema, found.classes


def has_flavour(directory: Path, name: str) -> bool:
    """Whether the model in this directory has a flavour, such as ``onnx``.

    Raises as ``describe`` does.
    """
    return name in describe(directory).flavours


def _schema(inputs: object) -> FeatureSchema:
    if inputs is None:
        raise InvalidModelError(f"the model has no signature; {HOW_TO_SIGN}")
    try:
        items = json.loads(str(inputs))
        named = bool(items) and all("name" in item and item.get("type") != "tensor" for item in items)
    except (ValueError, TypeError, AttributeError):
        named = False
    if not named:
        raise InvalidModelError(f"the model's signature does not list named columns; {HOW_TO_SIGN}")
    return FeatureSchema.from_signature(str(inputs))


def columns_metadata(schema: FeatureSchema) -> dict[str, dict[str, Any]]:
    """The MLmodel's metadata on columns, by name, in addition to the signature.

    ``{"values": [...]}`` are a text column's categories, ``{"type": "date"}`` is a column of days, and
    ``{"type": "id"}`` is a column that identifies rows and is not an input. Other columns are not listed.
    """
    found: dict[str, dict[str, Any]] = {name: {"type": ID} for name in schema.ids}
    found |= {column.name: {"type": "date"} for column in schema.columns if column.type is ColumnType.DATE}
    return found | {column.name: {"values": list(column.values)} for column in schema.columns if column.values}


def _with_metadata(schema: FeatureSchema, metadata: object) -> FeatureSchema:
    if not isinstance(metadata, dict) or not all(isinstance(said, dict) for said in metadata.values()):
        raise InvalidModelError(f"{METADATA_COLUMNS} in {MLMODEL_FILE} must be a mapping of columns")
    ids = tuple(str(name) for name, said in metadata.items() if said.get("type") == ID and name not in schema.names)
    return FeatureSchema(tuple(_described(column, metadata.get(column.name, {})) for column in schema.columns), ids)


def _described(column: Column, said: dict[str, Any]) -> Column:
    """A column of the signature, completed by the metadata."""
    if said.get("type") == "date" and column.mlflow_type == DATE_TYPE:
        return replace(column, type=ColumnType.DATE)
    values = said.get("values", [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InvalidModelError(f"values of {column.name} in {MLMODEL_FILE} must be a list of texts")
    return replace(column, values=tuple(values)) if column.type is ColumnType.STRING else column


def _classes(classes: object) -> tuple[str, ...] | None:
    if classes is None:
        return None
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise InvalidModelError(f"{METADATA_CLASSES} in {MLMODEL_FILE} must be a list of names")
    if len(set(classes)) != len(classes):
        raise InvalidModelError(f"{METADATA_CLASSES} in {MLMODEL_FILE} must be different names")
    return tuple(classes)


def _threshold(said: object, classes: tuple[str, ...]) -> Threshold | None:
    if said is None:
        return None
    name, least = (said.get("class"), said.get("probability")) if isinstance(said, dict) else (None, None)
    if name not in classes or len(classes) != 2 or not isinstance(least, float) or not 0 < least < 1:  # noqa: PLR2004
        raise InvalidModelError(
            f"{METADATA_THRESHOLD} in {MLMODEL_FILE} must name one of two classes and its least probability"
        )
    return Threshold(classes.index(name), least)


def _type_of_answers(outputs: object) -> str | None:
    """The type of a signature's only output; ``outputs`` is JSON, a list of columns or of tensors."""
    try:
        (item,) = json.loads(str(outputs))
        return str(item["tensor-spec"]["dtype"] if item["type"] == "tensor" else item["type"])
    except (ValueError, TypeError, KeyError):
        return None
