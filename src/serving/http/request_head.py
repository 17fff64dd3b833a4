"""What the headers of a request say."""

import re

import uuid_utils
from starlette.types import Scope

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def header(scope: Scope, wanted: bytes) -> bytes | None:
    """A header's value, several joined by commas as HTTP defines, or None."""
    values = [value for name, value in scope["headers"] if name == wanted]
    return b", ".join(values) if values else None


def announced_length(scope: Scope) -> int:
    """The body's length in bytes; 0 if none is announced (the server has refused invalid ones)."""
    value = header(scope, b"content-length") or b""
    return int(value) if value.isdigit() else 0


def client_request_id(scope: Scope) -> str | None:
    """The client's request id; None if it has sent none or an invalid one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return None


def new_request_id() -> str:
    """A new unique id."""
    return str(uuid_utils.uuid7())
