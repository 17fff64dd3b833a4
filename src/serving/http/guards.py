"""A request's head: what it says, and checks of hosts, compression, cross-site requests and the key for writing."""

import hmac
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping

import uuid_utils
from pydantic import SecretStr
from starlette.types import Scope

from src.serving.http.errors import RefusedError

ANY = "*"
# A name or an address, and a port, which is ignored.
HOST_PATTERN = re.compile(r"(\[[0-9a-f:.]{1,50}\]|[^\[\]:@/\s]{1,255})(?::[0-9]{0,5})?", re.ASCII)
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
READING = frozenset({"GET", "HEAD", "OPTIONS"})
# A name of a compression that is repeated in an answer.
CODING = re.compile(r"[a-z0-9, -]{1,60}")
# The size of the cache of allowed hosts, of some 300 bytes each: a client can send any number of addresses and ports.
REMEMBERED = 1000
UNTRUSTED_HOST = "Host header not allowed; add the name to ALLOWED_HOSTS"
CROSS_SITE = "browsers may send this request from the service's own pages only"
UNAUTHORIZED = "this needs the key of WRITE_API_KEY (for /alerts, ALERT_TOKEN); send it as Authorization: Bearer <key>"
# Sec-Fetch-Site of requests from the service's own pages, or from no page.
OWN_SITES = frozenset({b"same-origin", b"none"})

# A rule about requests: why this one must not be answered, or None.
Guard = Callable[[Scope], RefusedError | None]


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


class HostGuard:
    """Accepts only allowed host names, so that pages of other sites cannot read the service through a browser.

    Addresses are always accepted: an attack by DNS rebinding needs a name. Of ``names``, ``*.example.com`` is every
    name below that one, and ``*`` is any. Ports are ignored.
    """

    def __init__(self, names: Iterable[str]) -> None:
        bare = [_bare(name.strip().lower()) or name.strip().lower() for name in names]
        self._any = ANY in bare
        self._names = frozenset(bare)
        self._suffixes = tuple(name.removeprefix(ANY) for name in bare if name.startswith("*."))
        # A cache, because clients use few names.
        self._known: set[bytes] = set()

    def __call__(self, scope: Scope) -> RefusedError | None:
        """Check one request; cheap enough for the fast path."""
        host = header(scope, b"host")  # two Host headers, joined, are not a name
        is_old = host is None and scope["http_version"] == "1.0"  # browsers always send it; HTTP/1.1 requires it
        allowed = self._any or is_old or host in self._known or (host is not None and self._allows(host))
        return None if allowed else RefusedError(400, UNTRUSTED_HOST)

    def _allows(self, host: bytes) -> bool:
        name = _bare(host.decode("latin-1").lower())
        if name is None:
            return False
        allowed = name in self._names or name.endswith(self._suffixes) or _is_address(name)
        if allowed and len(self._known) < REMEMBERED:
            self._known.add(host)
        return allowed


def encoding_guard(scope: Scope) -> RefusedError | None:
    """Refuses compressed bodies, on every route."""
    encoding = (header(scope, b"content-encoding") or b"").decode("latin-1").strip().lower()
    if encoding in {"", "identity"} or scope["method"] in READING:
        return None
    named = f" {encoding}" if CODING.fullmatch(encoding) else ""
    message = f"Content-Encoding{named} is not supported; send the body without compression"
    return RefusedError(415, message, {"Accept-Encoding": "identity"})


class WriteGuard:
    """Refuses requests to some paths if they come from other sites' pages, or lack the path's key, if any.

    A route's template, such as ``/rollouts/{rollout_id}/approve``, stands for all paths that begin as it does.
    """

    def __init__(self, keys: Mapping[str, SecretStr | None]) -> None:
        found = {path: None if key is None else key.get_secret_value().encode() for path, key in keys.items()}
        self._keys = {path: key for path, key in found.items() if "{" not in path}
        self._below = {path.partition("{")[0]: key for path, key in found.items() if "{" in path}
        self._beginnings = tuple(self._below)

    def __call__(self, scope: Scope) -> RefusedError | None:
        """Check one request."""
        path = scope["path"]
        is_known = path in self._keys
        if scope["method"] in READING or not (is_known or path.startswith(self._beginnings)):
            return None
        if _is_cross_site(scope):
            return RefusedError(403, CROSS_SITE)
        scheme, _, token = (header(scope, b"authorization") or b"").partition(b" ")
        # In constant time, so that the key cannot be guessed byte by byte.
        key = self._keys[path] if is_known else self._key_below(path)
        if key is None or (hmac.compare_digest(token.strip(), key) and scheme.lower() == b"bearer"):
            return None
        return RefusedError(401, UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})

    def _key_below(self, path: str) -> bytes | None:
        return next(key for beginning, key in self._below.items() if path.startswith(beginning))


def _is_cross_site(scope: Scope) -> bool:
    """Whether a browser sent it from another site; other clients send neither header."""
    site = header(scope, b"sec-fetch-site")
    if site is not None:
        return site not in OWN_SITES
    origin = header(scope, b"origin")
    if origin is None:
        return False
    return origin.lower().partition(b"://")[2] != (header(scope, b"host") or b"").lower()


def _bare(host: str) -> str | None:
    """A host without its port and a trailing dot; None if it is not a host."""
    match = HOST_PATTERN.fullmatch(host)
    return match[1].removesuffix(".") if match else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
