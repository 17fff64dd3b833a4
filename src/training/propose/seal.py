"""A last line that shows whether a configuration was edited."""

import hashlib

PREFIX = "# unchanged while this is the SHA-256 of the lines above: "


def sealed(text: str) -> str:
    """The text with its seal as the last line; a former one is replaced."""
    body = _body(text)
    return f"{body}{PREFIX}{_digest(body)}\n"


def is_unchanged(text: str) -> bool:
    """Whether a text still is as it was when it was sealed; line ends may differ."""
    plain = text.replace("\r\n", "\n")
    return plain == sealed(plain)


def _body(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(PREFIX))


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
