"""The format of a batch, by Content-Type, and of its answers, by Accept."""

from collections.abc import Iterator

from src.core.errors import InvalidInputError
from src.serving.tables.formats import Format
from src.serving.watch.metrics import NOT_ACCEPTABLE, UNSUPPORTED_MEDIA_TYPE

LISTED = ", ".join(Format)
UTF_8 = frozenset({"utf-8", "utf8", "us-ascii"})


class UnsupportedMediaTypeError(InvalidInputError):
    """The body's declared media type is not supported by the route."""

    def __init__(self, message: str = "send JSON with Content-Type: application/json") -> None:
        super().__init__(message, kind=UNSUPPORTED_MEDIA_TYPE)


class NotAcceptableError(InvalidInputError):
    """The route supports no format that the client accepts."""

    def __init__(self, message: str) -> None:
        super().__init__(message, kind=NOT_ACCEPTABLE)


def format_of(content_type: str | None) -> Format:
    """The declared format of a body; JSON without a declaration.

    Raises:
        UnsupportedMediaTypeError: the format is not supported.
    """
    if content_type is None:
        return Format.JSON
    media_type, parameters = _split(content_type)
    if media_type.startswith("application/") and media_type.endswith("+json"):
        return Format.JSON
    try:
        found = Format(media_type)
    except ValueError:
        raise UnsupportedMediaTypeError(f"send a batch with one of these as Content-Type: {LISTED}") from None
    if found is Format.CSV and parameters.get("charset", "utf-8").lower() not in UTF_8:
        raise UnsupportedMediaTypeError("send CSV in UTF-8")
    if parameters.get("header", "present").lower() == "absent":
        raise UnsupportedMediaTypeError("send CSV with a header that names the columns")
    return found


def accepted(accept: str, came_in: Format) -> Format:
    """The format that a client prefers; among equals, and for ``*/*`` or an empty Accept, that of the request.

    Raises:
        NotAcceptableError: no accepted format is supported.
    """
    ranges = list(_ranges(accept)) or [("*/*", 1.0)]
    offered = [came_in, *(item for item in Format if item is not came_in)]
    best = max(offered, key=lambda item: _quality(item, ranges))
    if not _quality(best, ranges):
        raise NotAcceptableError(f"answers to a batch have one of these formats; name one in Accept: {LISTED}")
    return best


def _quality(offered: Format, ranges: list[tuple[str, float]]) -> float:
    """A format's quality, by the most specific range that matches it."""
    kind = offered.partition("/")[0]
    for pattern in (offered.value, f"{kind}/*", "*/*"):
        found = [quality for media_range, quality in ranges if media_range == pattern]
        if found:
            return max(found)
    return 0.0


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    """Each media range with its quality, which is 0 if it is not a number from 0 to 1."""
    for part in accept.split(","):
        media_range, parameters = _split(part)
        if media_range:
            try:
                quality = float(parameters.get("q", "1"))
            except ValueError:
                quality = 0.0
            yield media_range, quality if 0 <= quality <= 1 else 0.0


def _split(value: str) -> tuple[str, dict[str, str]]:
    """A media type in lower case, and its parameters."""
    media_type, *rest = value.split(";")
    pairs = (item.partition("=") for item in rest)
    return media_type.strip().lower(), {name.strip().lower(): text.strip().strip('"') for name, _, text in pairs}


def is_json(content_type: str) -> bool:
    """Whether a Content-Type is JSON as FastAPI understands it: ``application/json`` or ``application/*+json``."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))
