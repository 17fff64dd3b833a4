"""Ids of requests."""

import re

import uuid_utils
from starlette.types import Scope

PATTERN = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def request_id_from(scope: Scope) -> str:
    """The client's request id if it is valid, else a new one."""
    return client_request_id(scope) or new_request_id()


def client_request_id(scope: Scope) -> str | None:
    """The client's request id; None if it has sent none or an invalid one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and PATTERN.fullmatch(value):
            return str(value.decode())
    return None


def new_request_id() -> str:
    """A new unique id."""
    return str(uuid_utils.uuid7())
