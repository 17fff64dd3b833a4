"""Who sends a request that changes something, as far as known."""

import hmac
import re

from fastapi import Request
from pydantic import SecretStr

from src.services.inference.routes.endpoints import service_of
from src.serving.http.errors import request_id_of

# The sign-in proxy (config/tls/haproxy.cfg) removes both from what clients send; the key proves that it set them.
USER_HEADER, KEY_HEADER = "x-forwarded-user", "x-forwarded-user-key"
USER = re.compile(r"[\w.@+-]{1,64}", re.ASCII)


def asked_by(request: Request, way: str) -> str:
    """The user that the sign-in proxy names or else ``key holder``, with the route, the address and the request's id.

    Requests to routes that change something have passed the check of the key where one is set.
    """
    settings = service_of(request).settings
    client = request.client.host if request.client is not None else "unknown"
    known = signed_in_user(request, settings.sign_in_proxy_key)
    if known is None and settings.write_api_key is not None:
        known = "key holder"
    return ", ".join([*([known] if known else []), way, client, f"request {request_id_of(request.scope)}"])


def signed_in_user(request: Request, key: SecretStr | None) -> str | None:
    """The user's name, if the request comes from the sign-in proxy and has one."""
    given, user = request.headers.get(KEY_HEADER), request.headers.get(USER_HEADER, "")
    if key is None or given is None or not USER.fullmatch(user):
        return None
    return user if hmac.compare_digest(given.encode(), key.get_secret_value().encode()) else None
