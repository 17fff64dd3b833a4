"""Requests for one row, by route: a quick decoding of the common forms, and the same response as the route's own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from src.core.feature_schema import FeatureSchema
from src.core.feature_table import Row
from src.serving.models.predictor import Predictor
from src.serving.protocols import mlflow_scoring
from src.serving.protocols.infer_answer import NUMBER, encode_single, output_names
from src.serving.protocols.infer_request import InferMessage, matrix_of
from src.serving.protocols.media_types import is_json
from src.serving.protocols.tensors import InputTensor
from src.serving.tables.answers import Answer, encode_answer

JSON = b"application/json"
# Names of headers with which a request is left to its route.
ROUTED = frozenset({b"expect", b"inference-header-content-length"})

V = TypeVar("V")
# The row of a valid request in a common form, and what the encoding of its response needs.
Decoded = tuple[Row | None, Any]


@dataclass(frozen=True)
class SingleRow:
    """The requests of one route."""

    template: str
    decode: Callable[[Predictor, bytes], Decoded]  # no row, or any error, if the route must decode the body
    encode: Callable[[Predictor, Answer, Any, str], bytes]  # the response's body; ValueError if the route must answer
    takes_type: Callable[[bytes], bool] = lambda value: value == JSON  # whether its Content-Type may be decoded here


def _decode_record(predictor: Predictor, body: bytes) -> Decoded:
    return predictor.decoder.decode_or_none(body), None


def _encode_record(predictor: Predictor, answer: Answer, _: None, request_id: str) -> bytes:
    return encode_answer(answer, predictor.model_name, request_id)


class _Split(msgspec.Struct, Generic[V], forbid_unknown_fields=True):
    columns: list[str]
    data: list[list[V]]
    index: list[Any] = msgspec.field(default_factory=list)


class _Scoring(msgspec.Struct, Generic[V], forbid_unknown_fields=True):
    dataframe_split: _Split[V] | UnsetType = UNSET
    dataframe_records: list[dict[str, V]] | UnsetType = UNSET


_NUMBERS: msgspec.json.Decoder[_Scoring[Any]] = msgspec.json.Decoder(_Scoring[float])
_VALUES: msgspec.json.Decoder[_Scoring[Any]] = msgspec.json.Decoder(_Scoring[bool | int | float | str | None])


def _decode_scoring(predictor: Predictor, body: bytes) -> Decoded:
    """A frame of one row, split or as a record; columns that the model does not have are ignored."""
    schema = predictor.schema
    request = (_NUMBERS if schema.is_numeric else _VALUES).decode(body)
    split, records = request.dataframe_split, request.dataframe_records
    if isinstance(split, _Split) and records is UNSET:
        (values,) = split.data
        record = dict(zip(split.columns, values, strict=True))
        if len(record) < len(split.columns):
            raise ValueError
    elif isinstance(records, list) and split is UNSET:
        (record,) = records
    else:
        raise ValueError
    return predictor.decoder.row({name: record[name] for name in schema.names if name in record}), None


_INFER = msgspec.json.Decoder(InferMessage)


def _decode_infer(predictor: Predictor, body: bytes) -> Decoded:
    """One row of float64 numbers, as a matrix or a tensor per column; with the id and outputs of the request."""
    if not predictor.schema.is_numeric:
        raise ValueError
    request = _INFER.decode(body)
    wishes, offered = request.outputs or (), output_names(predictor)
    names = [wish.name for wish in wishes] or offered
    has_parameters = request.parameters or any(holder.parameters for holder in (*request.inputs, *wishes))
    if has_parameters or not set(names) <= set(offered):
        raise ValueError
    record = _only_numbers(predictor.schema, request.inputs)
    return predictor.decoder.row(record), (request.id, dict.fromkeys(names))


def _only_numbers(schema: FeatureSchema, tensors: Sequence[InputTensor]) -> dict[str, float]:
    """The only row by column; raises ValueError if the tensors are not float64 of one row."""
    record: dict[str, float] = {}
    matrix = None if matrix_of(schema) in schema.names else matrix_of(schema)
    for tensor in tensors:
        names = schema.names if tensor.name == matrix else (tensor.name,)
        data, shape = tensor.data, tensor.shape
        if not isinstance(data, list):
            raise ValueError  # noqa: TRY004 - as for any other content
        if len(shape) > 1 and len(data) == 1 and isinstance(data[0], list):
            data = data[0]
        is_row = shape == [1, len(names)] or (shape == [1] and len(names) == 1)
        if not is_row or tensor.datatype != NUMBER or not set(map(type, data)) <= {float, int}:
            raise ValueError
        record.update(zip(names, map(float, data), strict=True))
    if len(tensors) != (1 if matrix in {tensor.name for tensor in tensors} else len(record)):
        raise ValueError
    return record


RECORD = SingleRow(
    "/predict", _decode_record, _encode_record, lambda value: value == JSON or is_json(value.decode("latin-1"))
)
SCORING = SingleRow("/invocations", _decode_scoring, lambda _, answer, *__: mlflow_scoring.encode([answer.prediction]))
INFER = SingleRow("/v2/models/{model_name}/infer", _decode_infer, encode_single)


def single_rows(model_name: str) -> dict[str, SingleRow]:
    """The routes whose requests for a single row are predicted without the application, by path."""
    return {route.template.replace("{model_name}", model_name): route for route in (RECORD, SCORING, INFER)}
