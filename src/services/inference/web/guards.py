"""Who may ask: by which names the service is reached, and who may write. Decided by a request's head alone."""

import hmac
import ipaddress
import re
from collections.abc import Iterable
from typing import Protocol

from starlette.types import Scope

from src.core.errors import LoopError

ANY = "*"
# A name or an address, and the port, which does not matter.
HOST_PATTERN = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:@/\s]+)(?::[0-9]*)?", re.ASCII)
READING = frozenset({"GET", "HEAD", "OPTIONS"})
# Forms of allowed hosts that are kept in mind: a client can make up any number of addresses and ports.
REMEMBERED = 1000
# What a browser says of a request that a page of this very service has made, or no page at all.
OWN_SITES = frozenset({b"same-origin", b"none"})


class UntrustedHostError(LoopError):
    """The request names a host that this service does not go by."""

    def __init__(self) -> None:
        super().__init__("this service does not go by the name in the Host header; add that name to ALLOWED_HOSTS")


class CrossSiteError(LoopError):
    """A page of another site has made a browser send this request."""

    def __init__(self) -> None:
        super().__init__("browsers may send this request from the service's own pages only")


class UnauthorizedError(LoopError):
    """The request lacks the key that writing needs."""

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
    """Answers only to the service's own names, so that no page of another name can read it through a browser.

    An address is always good: what tricks a browser into asking here (DNS rebinding) needs a name.

    Args:
        names: host names; ``*.example.com`` is every name below that one, ``*`` is any. Ports are ignored.
    """

    def __init__(self, names: Iterable[str]) -> None:
        bare = [_bare(name.strip().lower()) or name.strip().lower() for name in names]
        self._any = ANY in bare
        self._names = frozenset(bare)
        self._suffixes = tuple(name.removeprefix(ANY) for name in bare if name.startswith("*."))
        # Clients come by few names: each is looked at once.
        self._known: set[bytes] = set()

    def refusal(self, scope: Scope) -> LoopError | None:
        """Why this request must not be answered, or None."""
        return None if self.allows(scope) else UntrustedHostError()

    def allows(self, scope: Scope) -> bool:
        """Whether a request comes by one of the names. Cheap: for the busiest path, too."""
        if self._any:
            return True
        host: bytes | None = None
        for name, value in scope["headers"]:
            if name == b"host":
                if host is not None:
                    return False  # two of them: whoever reads the other one is told something else
                host = value
        if host is None:
            return bool(scope["http_version"] == "1.0")  # no browser sends none; HTTP/1.1 forbids it
        return host in self._known or self._allows_name(host)

    def _allows_name(self, host: bytes) -> bool:
        name = _bare(host.decode("latin-1").lower())
        if name is None:
            return False
        allowed = name in self._names or name.endswith(self._suffixes) or _is_address(name)
        if allowed and len(self._known) < REMEMBERED:
            self._known.add(host)
        return allowed


class WriteGuard:
    """Keeps requests that change something from other sites' pages, and from who has no key where one is set.

    Args:
        paths: fixed paths of the routes that change something.
        key: what who writes must send as a bearer token; None for no key.
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
        # In the same time for every token, so that it cannot be guessed piece by piece.
        return hmac.compare_digest(token.strip(), self._key or b"") and scheme.lower() == b"bearer"


def _is_cross_site(scope: Scope) -> bool:
    """What the browser says; who is no browser says neither."""
    site = _header(scope, b"sec-fetch-site")
    if site is not None:
        return site not in OWN_SITES
    origin = _header(scope, b"origin")
    if origin is None:
        return False
    return origin.lower().partition(b"://")[2] != (_header(scope, b"host") or b"").lower()


def _header(scope: Scope, wanted: bytes) -> bytes | None:
    """A header's value, several joined as HTTP has it, or None."""
    values = [value for name, value in scope["headers"] if name == wanted]
    return b", ".join(values) if values else None


def _bare(host: str) -> str | None:
    """A host without its port, and a name without the dot that ends it; None if it is no host."""
    match = HOST_PATTERN.fullmatch(host)
    return match[1].removesuffix(".") if match else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
