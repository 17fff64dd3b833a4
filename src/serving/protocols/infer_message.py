"""The JSON of an inference request of the Open Inference Protocol."""

from typing import Any

import msgspec

from src.serving.protocols import lenient_json
from src.serving.tables.problems import malformed

FORM = (
    "the request must be a JSON object with inputs, a list of tensors with name, shape, datatype and data; "
    "id is a string, outputs is a list of objects with a name, and parameters are objects"
)


class InputTensor(msgspec.Struct, frozen=True):
    """A tensor of a request; ``data`` is absent if it is binary. An optional member that is null counts as absent."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: Any = None


class OutputWish(msgspec.Struct, frozen=True):
    """An output that the client requests."""

    name: str
    parameters: dict[str, Any] | None = None


class InferMessage(msgspec.Struct, frozen=True):
    """The request."""

    inputs: list[InputTensor]
    id: str | None = None
    outputs: list[OutputWish] | None = None
    parameters: dict[str, Any] | None = None


def decode_message(header: bytes) -> InferMessage:
    """Decode the JSON of a request.

    Raises:
        InvalidRecordError: it is not JSON, or not of this form.
    """
    try:
        return msgspec.json.decode(header, type=InferMessage)
    except (ValueError, RecursionError):
        pass
    document = lenient_json.decode(header)
    try:
        return msgspec.convert(document, InferMessage)
    except (ValueError, RecursionError):
        raise malformed(FORM) from None


def parameter_of(holder: InputTensor | OutputWish | InferMessage, name: str, default: Any = None) -> Any:
    """A parameter's value; the default if it is absent or null."""
    value = (holder.parameters or {}).get(name)
    return default if value is None else value
