"""The format of a body, by Content-Type, and of the answers to a batch, by Accept."""

from collections.abc import Sequence

from src.core.errors import InvalidInputError
from src.serving.tables.parts import Format
from src.serving.watch.metrics import NOT_ACCEPTABLE, UNSUPPORTED_MEDIA_TYPE

LISTED = ", ".join(Format)
UTF_8 = frozenset({"utf-8", "utf8", "us-ascii"})


class UnsupportedMediaTypeError(InvalidInputError):
    """The body's declared media type is not supported by the route."""

    def __init__(self, message: str = "send JSON with Content-Type: application/json") -> None:
        super().__init__(message, kind=UNSUPPORTED_MEDIA_TYPE)


def is_json(content_type: str) -> bool:
    """Whether a Content-Type is JSON as FastAPI understands it: ``application/json`` or ``application/*+json``."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def format_of(content_type: str | None, known: Sequence[Format] = tuple(Format), what: str = "a batch") -> Format:
    """The declared format of a body, one of those known, or UnsupportedMediaTypeError; JSON without a declaration."""
    if content_type is None or is_json(content_type):
        return Format.JSON
    media_type, parameters = _split(content_type)
    if media_type not in known:
        raise UnsupportedMediaTypeError(f"send {what} with one of these as Content-Type: {', '.join(known)}")
    if media_type == Format.CSV and parameters.get("charset", "utf-8").lower() not in UTF_8:
        raise UnsupportedMediaTypeError("send CSV in UTF-8")
    if parameters.get("header", "present").lower() == "absent":
        raise UnsupportedMediaTypeError("send CSV with a header that names the columns")
    return Format(media_type)


def accepted(accept: str, came_in: Format) -> Format:
    """The format that a client prefers; among equals, and for ``*/*`` or an empty Accept, that of the request.

    Raises InvalidInputError if no accepted format is supported.
    """
    qualities: dict[str, float] = {}
    for media_range, parameters in map(_split, accept.split(",")):
        try:
            quality = float(parameters.get("q", "1"))
        except ValueError:
            quality = 0.0
        if media_range:
            qualities[media_range] = max(qualities.get(media_range, 0.0), quality if 0 <= quality <= 1 else 0.0)

    def quality_of(offered: Format) -> float:
        """By the most specific range that matches it."""
        ranges = (offered, f"{offered.partition('/')[0]}/*", "*/*")
        return next((qualities[media_range] for media_range in ranges if media_range in qualities), 0.0)

    best: Format = max([came_in, *Format], key=quality_of)
    if qualities and not quality_of(best):
        message = f"answers to a batch have one of these formats; name one in Accept: {LISTED}"
        raise InvalidInputError(message, kind=NOT_ACCEPTABLE)
    return best


def _split(value: str) -> tuple[str, dict[str, str]]:
    """A media type in lower case, and its parameters."""
    media_type, *rest = value.split(";")
    pairs = (item.partition("=") for item in rest)
    return media_type.strip().lower(), {name.strip().lower(): text.strip().strip('"') for name, _, text in pairs}
