"""Requests for one row, by route: a quick decoding of the common forms, and the same response as the route's own."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from src.core.feature_schema import FeatureSchema
from src.core.feature_table import Row
from src.serving.models.predictor import Predictor
from src.serving.protocols.infer_answer import (
    NUMBER,
    PREDICT,
    PROBABILITIES,
    InferResponse,
    OutputTensor,
    datatype_of_labels,
    output_names,
)
from src.serving.protocols.infer_request import matrix_of
from src.serving.protocols.media_types import is_json
from src.serving.tables.answers import Answer, encode_answer
from src.serving.tables.problems import UNFIT

JSON = b"application/json"
# Headers that only the route handles.
EXPECT = b"expect"
JSON_LENGTH = b"inference-header-content-length"

V = TypeVar("V")


class OneRow(NamedTuple):
    """A decoded request: the row, and what the encoding of its response needs."""

    row: Row
    details: Any = None


class SingleRow(ABC):
    """The requests of one route.

    Attributes:
        template: the route's template, for the metrics.
        routed: names of headers with which a request is left to the route.
    """

    template: ClassVar[str]
    routed: ClassVar[frozenset[bytes]] = frozenset({EXPECT})

    def takes_type(self, content_type: bytes) -> bool:
        """Whether a body of this Content-Type may be decoded here: JSON without parameters."""
        return content_type == JSON

    @abstractmethod
    def decode(self, predictor: Predictor, body: bytes) -> OneRow | None:
        """The row of a valid request in a common form; None for all others, which the route decodes."""

    @abstractmethod
    def encode(self, predictor: Predictor, answer: Answer, details: Any, request_id: str) -> bytes:
        """The body of the response."""


class RecordRow(SingleRow):
    """``POST /predict``."""

    template = "/predict"

    def takes_type(self, content_type: bytes) -> bool:
        """Any JSON."""
        return super().takes_type(content_type) or is_json(content_type.decode("latin-1"))

    def decode(self, predictor: Predictor, body: bytes) -> OneRow | None:
        """An object with the model's columns."""
        row = predictor.decoder.decode_or_none(body)
        return None if row is None else OneRow(row)

    def encode(self, predictor: Predictor, answer: Answer, _: None, request_id: str) -> bytes:
        """The prediction with probabilities."""
        return encode_answer(answer, predictor.model_name, request_id)


class _Split(msgspec.Struct, Generic[V], forbid_unknown_fields=True):
    columns: list[str]
    data: list[list[V]]
    index: list[Any] = msgspec.field(default_factory=list)


class _Scoring(msgspec.Struct, Generic[V], forbid_unknown_fields=True):
    dataframe_split: _Split[V] | UnsetType = UNSET
    dataframe_records: list[dict[str, V]] | UnsetType = UNSET


class ScoringRow(SingleRow):
    """``POST /invocations``: a frame of one row, split or as a record."""

    template = "/invocations"

    def __init__(self) -> None:
        self._numbers = msgspec.json.Decoder(_Scoring[float])
        self._values = msgspec.json.Decoder(_Scoring[bool | int | float | str | None])

    def decode(self, predictor: Predictor, body: bytes) -> OneRow | None:
        """The row; columns that the model does not have are ignored."""
        decoder: msgspec.json.Decoder[Any] = self._numbers if predictor.schema.is_numeric else self._values
        try:
            record = _record(decoder.decode(body))
        except UNFIT:
            return None
        if record is None:
            return None
        row = predictor.decoder.row_or_none({name: record[name] for name in predictor.schema.names if name in record})
        return None if row is None else OneRow(row)

    def encode(self, _: Predictor, answer: Answer, __: None, ___: str) -> bytes:
        """The prediction alone."""
        return msgspec.json.encode({"predictions": [answer.prediction]})


class _Tensor(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class _Output(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class _Infer(msgspec.Struct, forbid_unknown_fields=True):
    inputs: list[_Tensor]
    id: str | None = None
    outputs: list[_Output] = msgspec.field(default_factory=list)


class InferRow(SingleRow):
    """``POST /v2/models/{model_name}/infer``: one row of float64 numbers, as a matrix or a tensor per column.

    Args:
        model_name: the name in the path.
    """

    template = "/v2/models/{model_name}/infer"
    routed = frozenset({EXPECT, JSON_LENGTH})

    def __init__(self, model_name: str) -> None:
        self._model_name = model_name
        self._decoder = msgspec.json.Decoder(_Infer)

    def decode(self, predictor: Predictor, body: bytes) -> OneRow | None:
        """The row, and the id and outputs of the request."""
        schema = predictor.schema
        if not schema.is_numeric or predictor.version.name != self._model_name:
            return None
        try:
            request = self._decoder.decode(body)
            record = _numbers(schema, request.inputs)
        except (*UNFIT, OverflowError):
            return None
        offered = output_names(predictor)
        names = [output.name for output in request.outputs] or offered
        row = None if record is None or not set(names) <= set(offered) else predictor.decoder.row_or_none(record)
        return None if row is None else OneRow(row, (request.id, dict.fromkeys(names)))

    def encode(self, predictor: Predictor, answer: Answer, details: Any, request_id: str) -> bytes:
        """The requested outputs.

        Raises:
            ValueError: probabilities are among them, and this row has none.
        """
        client_id, names = details
        shares = list((answer.probabilities or {}).values())
        if not shares and PROBABILITIES in names:
            raise ValueError
        tensors = {
            PREDICT: OutputTensor(PREDICT, datatype_of_labels(predictor), [1, 1], data=[answer.prediction]),
            PROBABILITIES: OutputTensor(PROBABILITIES, NUMBER, [1, len(shares)], data=shares),
        }
        version = predictor.version
        outputs = [tensors[name] for name in names]
        return msgspec.json.encode(InferResponse(version.name, version.version, client_id or request_id, outputs))


def _record(request: _Scoring[Any]) -> Mapping[str, Any] | None:
    """The only row by column; None if the request is not of one row, or invalid."""
    split, records = request.dataframe_split, request.dataframe_records
    if isinstance(split, _Split) and records is UNSET:
        if len(split.data) != 1 or len(split.data[0]) != len(split.columns):
            return None
        record = dict(zip(split.columns, split.data[0], strict=True))
        return record if len(record) == len(split.columns) else None
    return records[0] if isinstance(records, list) and split is UNSET and len(records) == 1 else None


def _numbers(schema: FeatureSchema, tensors: list[_Tensor]) -> dict[str, float] | None:
    """The only row by column; None if the tensors are not float64 of one row.

    Raises:
        OverflowError: a number is too large.
    """
    record: dict[str, float] = {}
    matrix = None if matrix_of(schema) in schema.names else matrix_of(schema)
    for tensor in tensors:
        names = schema.names if tensor.name == matrix else (tensor.name,)
        is_nested = len(tensor.shape) > 1 and len(tensor.data) == 1 and isinstance(tensor.data[0], list)
        data = tensor.data[0] if is_nested else tensor.data
        is_row = tensor.shape == [1, len(names)] or (tensor.shape == [1] and len(names) == 1)
        if (
            not is_row
            or tensor.datatype != NUMBER
            or len(data) != len(names)
            or not set(map(type, data)) <= {float, int}
        ):
            return None
        record.update(zip(names, map(float, data), strict=True))
    return record if len(tensors) == (1 if matrix in {tensor.name for tensor in tensors} else len(record)) else None
