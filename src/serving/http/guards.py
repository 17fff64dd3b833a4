"""Checks of a request's head: allowed hosts, compression, cross-site requests, and the key for writing."""

import hmac
import ipaddress
import re
from collections.abc import Iterable
from typing import Protocol

from starlette.types import Scope

from src.core.errors import LoopError

ANY = "*"
# A name or an address, and a port, which is ignored.
HOST_PATTERN = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:@/\s]+)(?::[0-9]*)?", re.ASCII)
READING = frozenset({"GET", "HEAD", "OPTIONS"})
# A name of a compression that is repeated in an answer.
CODING = re.compile(r"[a-z0-9, -]{1,60}")
# The size of the cache of allowed hosts: a client can send any number of addresses and ports.
REMEMBERED = 1000
# Sec-Fetch-Site of requests from the service's own pages, or from no page.
OWN_SITES = frozenset({b"same-origin", b"none"})


class UntrustedHostError(LoopError):
    """The Host header is not allowed."""

    def __init__(self) -> None:
        super().__init__("Host header not allowed; add the name to ALLOWED_HOSTS")


class CrossSiteError(LoopError):
    """A browser sent the request from a page of another site."""

    def __init__(self) -> None:
        super().__init__("browsers may send this request from the service's own pages only")


class CompressedBodyError(LoopError):
    """The body is compressed."""

    def __init__(self, encoding: str) -> None:
        named = f" {encoding}" if CODING.fullmatch(encoding) else ""
        super().__init__(f"Content-Encoding{named} is not supported; send the body without compression")


class UnauthorizedError(LoopError):
    """The request lacks the key for writing."""

    def __init__(self) -> None:
        super().__init__(
            "this needs the key of WRITE_API_KEY (for /alerts, ALERT_TOKEN); send it as Authorization: Bearer <key>"
        )


class Guard(Protocol):
    """A rule about requests."""

    def refusal(self, scope: Scope) -> LoopError | None:
        """Why this request must not be answered, or None."""
        ...


class HostGuard:
    """Accepts only allowed host names, so that pages of other sites cannot read the service through a browser.

    Addresses are always accepted: an attack by DNS rebinding needs a name.

    Args:
        names: host names; ``*.example.com`` is every name below that one, ``*`` is any. Ports are ignored.
    """

    def __init__(self, names: Iterable[str]) -> None:
        bare = [_bare(name.strip().lower()) or name.strip().lower() for name in names]
        self._any = ANY in bare
        self._names = frozenset(bare)
        self._suffixes = tuple(name.removeprefix(ANY) for name in bare if name.startswith("*."))
        # A cache, because clients use few names.
        self._known: set[bytes] = set()

    def refusal(self, scope: Scope) -> LoopError | None:
        """Why this request must not be answered, or None."""
        return None if self.allows(scope) else UntrustedHostError()

    def allows(self, scope: Scope) -> bool:
        """Whether the request's host is allowed. Cheap enough for the fast path."""
        if self._any:
            return True
        host: bytes | None = None
        for name, value in scope["headers"]:
            if name == b"host":
                if host is not None:
                    return False  # two Host headers: other software may use the other one
                host = value
        if host is None:
            return bool(scope["http_version"] == "1.0")  # browsers always send it; HTTP/1.1 requires it
        return host in self._known or self._allows_name(host)

    def _allows_name(self, host: bytes) -> bool:
        name = _bare(host.decode("latin-1").lower())
        if name is None:
            return False
        allowed = name in self._names or name.endswith(self._suffixes) or _is_address(name)
        if allowed and len(self._known) < REMEMBERED:
            self._known.add(host)
        return allowed


class EncodingGuard:
    """Refuses compressed bodies, on every route."""

    def refusal(self, scope: Scope) -> LoopError | None:
        """Why this request must not be answered, or None."""
        encoding = (_header(scope, b"content-encoding") or b"").decode("latin-1").strip().lower()
        if encoding in {"", "identity"} or scope["method"] in READING:
            return None
        return CompressedBodyError(encoding)


class WriteGuard:
    """Refuses requests that change something if they come from other sites' pages, or lack the key where one is set.

    Args:
        paths: fixed paths of the routes that change something.
        key: the required bearer token; None for no key.
    """

    def __init__(self, paths: Iterable[str], key: str | None) -> None:
        self._paths = frozenset(paths)
        self._key = None if key is None else key.encode()

    def refusal(self, scope: Scope) -> LoopError | None:
        """Why this request must not be answered, or None."""
        if scope["method"] in READING or scope["path"] not in self._paths:
            return None
        if _is_cross_site(scope):
            return CrossSiteError()
        if self._key is not None and not self._has_key(scope):
            return UnauthorizedError()
        return None

    def _has_key(self, scope: Scope) -> bool:
        sent = _header(scope, b"authorization") or b""
        scheme, _, token = sent.partition(b" ")
        # In constant time, so that it cannot be guessed byte by byte.
        return hmac.compare_digest(token.strip(), self._key or b"") and scheme.lower() == b"bearer"


def _is_cross_site(scope: Scope) -> bool:
    """Whether a browser sent it from another site; other clients send neither header."""
    site = _header(scope, b"sec-fetch-site")
    if site is not None:
        return site not in OWN_SITES
    origin = _header(scope, b"origin")
    if origin is None:
        return False
    return origin.lower().partition(b"://")[2] != (_header(scope, b"host") or b"").lower()


def _header(scope: Scope, wanted: bytes) -> bytes | None:
    """A header's value, several joined by commas as HTTP defines, or None."""
    values = [value for name, value in scope["headers"] if name == wanted]
    return b", ".join(values) if values else None


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
