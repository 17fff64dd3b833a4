"""Raw requests for the gate before the Docker socket: what must be denied, and what must pass."""

import json
import uuid
from collections.abc import Iterator
from typing import NamedTuple

TOKEN = uuid.uuid4().hex[:8]  # marks whatever a request that slips through would leave behind
TARGET = f"loop-{TOKEN}-target"
OTHER = f"loop-{TOKEN}-other"
PLANTED = f"loop-{TOKEN}-planted"
LABEL = f"loop.planted={TOKEN}"  # of what would be planted
OWN_LABEL = f"loop.own={TOKEN}"  # of the test's own containers


class Request(NamedTuple):
    """Bytes for the gate, by a name that tells what is tried.

    ``engine_answers`` are the statuses that the engine may answer with: none where nothing may pass.
    """

    name: str
    raw: bytes
    engine_answers: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """The name, the same in every run and not too long."""
        return self.name.lower().replace(TOKEN, "x")[:90]


def http(line: str, *headers: str, body: str = "", version: str = "HTTP/1.1") -> bytes:
    """One request with a Host, and with a length where there is a body."""
    length = [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([f"{line} {version}", "Host: docker", *headers, *length, "", body]).encode("latin-1")


PING = http("GET /_ping")
LIST = http("GET /v1.44/containers/json")
_START = f"/v1.44/containers/{TARGET}/start"
START = http(f"POST {_START}")
START_OTHER = http(f"POST /v1.44/containers/{OTHER}/start")
_CHUNKED = "Transfer-Encoding: chunked"
_DOCKER_PY = ("User-Agent: docker-sdk-python/7.1.0", "Accept-Encoding: gzip", "Accept: */*", "Connection: keep-alive")
_RUNNING = "limit=-1&all=0&size=0&trunc_cmd=0&filters=%7B%22name%22%3A+%5B%22" + TARGET + "%22%5D%7D"

# Sent in this order: the first start finds the target stopped.
ALLOWED = [
    Request("ping", PING, (200,)),
    Request("ping with a version", http("GET /v1.44/_ping"), (200,)),
    Request("ping as docker-py sends it", http("GET /v1.44/_ping", *_DOCKER_PY), (200,)),
    Request("list", http("GET /containers/json"), (200,)),
    Request("list with a version", LIST, (200,)),
    Request("list with filters", http(f"GET /v1.44/containers/json?{_RUNNING}", *_DOCKER_PY), (200,)),
    Request("start", START, (204,)),
    Request("start of what runs", START, (304,)),
    Request("start without a version", http(f"POST /containers/{TARGET}/start"), (304,)),
    Request(
        "start as docker-py sends it",
        http(f"POST {_START}", *_DOCKER_PY, "Content-Length: 0"),
        (304,),
    ),
    # HAProxy writes what it passes on anew, so these reach the engine as the plain ones do.
    Request("ping with tabs", PING.replace(b" ", b"\t", 2), (200,)),
    Request("ping with two spaces", PING.replace(b" ", b"  ", 1), (200,)),
    Request("ping with bare line feeds", PING.replace(b"\r\n", b"\n"), (200,)),
    Request("start with length 00", http(f"POST {_START}", "Content-Length: 00"), (304,)),
]


def _body(**content: object) -> str:
    return json.dumps({"Labels": {"loop.planted": TOKEN}, **content})


_BODIES = {
    "": "",
    "empty": "{}",
    "exec": json.dumps({"Cmd": ["sh"], "AttachStdin": True, "AttachStdout": True}),
    "plain": _body(Image="haproxy:3.0"),
    "privileged": _body(Image="haproxy:3.0", HostConfig={"Privileged": True, "Binds": ["/:/host"], "PidMode": "host"}),
    "update": json.dumps({"RestartPolicy": {"Name": "always"}}),
    "connect": json.dumps({"Container": OTHER}),
    "planted": _body(Name=PLANTED),
    "file": "not a tar",
}

# Each would do something, or tell something, if it came to the engine: method, start of the path, its ends @ bodies.
_ENDPOINTS = f"""
POST /containers/{OTHER}/ start stop kill restart pause unpause wait resize?h=1&w=1 rename?name={PLANTED} update@update
POST /containers/{OTHER}/ exec@exec attach?stream=1&stdin=1&stdout=1
GET /containers/{OTHER}/ json logs?stdout=1 top stats?stream=0 changes export attach/ws?logs=1 archive?path=/etc/passwd
HEAD /containers/{OTHER}/ archive?path=/etc/passwd
PUT /containers/{OTHER}/ archive?path=/tmp@file
POST /containers/{TARGET}/ stop kill restart pause exec@exec rename?name={PLANTED}
GET /containers/{TARGET}/ json logs?stdout=1
DELETE /containers/ {OTHER}?force=1&v=1 {TARGET}
POST /containers/ create@privileged create?name={PLANTED}@plain create?name={PLANTED}-privileged@privileged
POST /containers/ prune?filters=%7B%22label%22%3A%5B%22loop.own%3D{TOKEN}%22%5D%7D
POST /images/ create?fromImage={PLANTED} haproxy:3.0/tag?repo={PLANTED}
GET /images/ json haproxy:3.0/get
POST / build?t={PLANTED}&remote=https://example.com/x.git commit?container={OTHER}&repo={PLANTED}@empty
POST / volumes/create@planted networks/create@planted networks/bridge/connect@connect exec/{TOKEN}/start@empty
POST / auth@empty session grpc
GET / volumes networks info version events?since=0&until=1 system/df swarm nodes services tasks secrets configs plugins
GET / distribution/haproxy/json debug/vars metrics x
"""

# Beside the allowed ones.
_GETS = f"""
/_ping? /_ping?x=1 /_ping/ //_ping /./_ping /x/../_ping /%5fping /_PING /_ping%00 /_ping;x /_ping#x
/v1.24/_ping /v1.999/_ping /v1x44/_ping /V1.44/_ping /v1.44/v1.44/_ping /v1.44//_ping /v1.44%2f_ping
/containers/json/ //containers/json /containers//json /containers/./json /containers/x/../json /containers%2fjson
/v1.24/containers/json /v1.999/containers/json /v1x44/containers/json /v1.44/containers/JSON /v1.44/containers
/containers/json? /containers/json?a=<b> /containers/json?a=b/../../info /containers/json?a?b /containers/json?x#y
/containers/json%3fall=1 /containers/json#x /containers/json;x /containers/jsonx /x/containers/json
/containers/json/../{OTHER}/json /containers/json?{"a" * 1025} /containers/json?{"a" * 20000}
http://docker/_ping http://docker/containers/json http://docker:2375/info https://docker/_ping * docker:2375
"""
_STARTS = f"""
/containers/{TARGET}/start? /containers/{TARGET}/start?detachKeys=ctrl-p /containers/{TARGET}/start/
/containers/{TARGET}/start/. /containers/{TARGET}/start#x /containers/{TARGET}/start%20 /containers/{TARGET}/start%00
/containers/{TARGET}/start;x /containers/{TARGET}/startx /containers/{TARGET}/Start /containers/{TARGET}/%73tart
/containers/{TARGET}/./start /containers/{TARGET}//start /containers/{TARGET}/../start /containers/{TARGET}
/containers/{TARGET}x/start /containers/x{TARGET}/start /containers/{TARGET[:-1]}/start
/containers/{TARGET.upper()}/start /containers//start /containers/*/start
/containers/{TARGET.replace("-", "%2d")}/start /containers/%2f{TARGET}/start
/containers/{TARGET.replace("-", "%252d")}/start /containers/{TARGET},{OTHER}/start /containers/{OTHER}/start?{TARGET}
/containers/{TARGET}/../{OTHER}/start /containers/{TARGET}/%2e%2e/{OTHER}/start
/containers/{TARGET}%2f..%2f{OTHER}/start /containers/{TARGET}/%252e%252e/{OTHER}/start
/containers/{TARGET}%2f%2e%2e%2f{OTHER}/start /containers/{TARGET}\\..\\{OTHER}/start
/containers/{TARGET}/start/../../{OTHER}/start /containers/{TARGET}/start/%2e%2e/%2e%2e/{OTHER}/start
/containers/{TARGET}/start?/../../{OTHER}/start /containers/{OTHER}/start#/containers/{TARGET}/start
/containers/{OTHER}/../{TARGET}/start //containers/{TARGET}/start /./containers/{TARGET}/start
/v1.44//containers/{TARGET}/start /v1.24/containers/{TARGET}/start /v1.999/containers/{TARGET}/start
/v1x44/containers/{TARGET}/start /V1.44/containers/{TARGET}/start http://docker/containers/{TARGET}/start
https://docker:2375/containers/{TARGET}/start unix:/containers/{TARGET}/start
"""
_PATHS = {"ping": "/_ping", "list": "/containers/json", "start": _START}
_METHODS = {
    "ping": "HEAD POST PUT DELETE OPTIONS TRACE get GETX",
    "list": "HEAD POST PUT DELETE PATCH",
    "start": "GET HEAD PUT DELETE PATCH post",
}
_UPGRADES = {
    "tcp": ("Connection: Upgrade", "Upgrade: tcp"),
    "h2c": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
    "websocket": ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: QQ=="),
    "unnamed": ("Connection: keep-alive, uPgRaDe",),
    "unconnected": ("Upgrade: tcp",),
}
_CHUNKS = b"2\r\n{}\r\n0\r\n\r\n"  # a well-formed body where it is chunked, and bytes of some length where it is not
_LENGTHS = {
    "body": ("Content-Length: 2",),
    "chunked": (_CHUNKED,),
    "chunked after a length": ("Content-Length: 2", _CHUNKED),
    "chunked before a length": (_CHUNKED, "Content-Length: 2"),
    "chunked beside length 0": ("Content-Length: 0", _CHUNKED),
    "identity": ("Transfer-Encoding: identity",),
    "two codings": ("Transfer-Encoding: gzip, chunked",),
    "chunked behind a vertical tab": ("Transfer-Encoding: \x0bchunked",),
    "chunked before a colon with a space": ("Transfer-Encoding : chunked",),
    "chunked folded": ("Transfer-Encoding:\r\n chunked",),
    "chunked after a bare line feed": ("X-Some: thing\nTransfer-Encoding: chunked",),
    "two lengths": ("Content-Length: 0", "Content-Length: 2"),
    "list of lengths": ("Content-Length: 0, 2",),
    **{f"length {length}": (f"Content-Length: {length}",) for length in ("+0", "-1", "0x0", "2 ", "1e1", "")},
    "expect": ("Expect: 100-continue",),
}
_H2_HEADERS = bytes([0x82, 0x86, 0x04, 6, *b"/_ping", 0x01, 6, *b"docker"])  # GET, http, path, authority
_H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_H2_PING = _H2_PREFACE + bytes([0, 0, len(_H2_HEADERS), 1, 5, 0, 0, 0, 1]) + _H2_HEADERS
_SMUGGLED = http("GET /_ping", f"Content-Length: {len(START_OTHER)}") + START_OTHER

_MALFORMED = {
    "HTTP/2 preface": _H2_PREFACE,
    "HTTP/2 ping": _H2_PING,
    "TLS hello": bytes([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3]) + b"\r\n\r\n",
    "CONNECT": http("CONNECT docker:2375"),
    "CONNECT to a path": http(f"CONNECT /containers/{OTHER}/start"),
    "HTTP/0.9": b"GET /_ping\r\n\r\n",
    **{
        f"{word} ping": http("GET /_ping", version=word)
        for word in ("HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/11", "http/1.1")
    },
    "HTTP/1.0 start kept alive": http(f"POST /containers/{TARGET}/start", "Connection: keep-alive", version="HTTP/1.0"),
    "two hosts": http("GET /_ping", "Host: other"),
    "huge header": http("GET /_ping", f"X-Huge: {'a' * 10000}"),
    "many headers": http("GET /_ping", *(f"X-{number}: 1" for number in range(40))),
    "nothing but a word": b"GET\r\n\r\n",
    "null byte in the URL": http("GET /_ping\0"),
    "null byte in a header": http("GET /_ping", "X: a\0b"),
    "null bytes in front": b"\0\0" + PING,
    "leading space": b" " + PING,
    "space in the URL": http(f"POST /containers/{TARGET}/start /containers/{OTHER}/start"),
    "bare carriage return": http("GET /_ping", f"X: a\rPOST /containers/{OTHER}/start HTTP/1.1"),
    "bare line feeds": START_OTHER.replace(b"\r\n", b"\n"),
    "folded start line": http(f"POST\r\n /containers/{OTHER}/start"),
    "header without a name": http("GET /_ping", ": x"),
    "header without a colon": http("GET /_ping", "X"),
    "high bytes in the URL": http("GET /_ping\xff"),
}
_SEQUENCES = [
    Request("denied start behind a ping", PING + START_OTHER, (200,)),
    Request("denied start behind a ping with length 0", http("GET /_ping", "Content-Length: 0") + START_OTHER, (200,)),
    Request("denied start behind a ping with bare line feeds", (PING + START_OTHER).replace(b"\r\n", b"\n"), (200,)),
    Request(
        "denied start behind a ping kept alive", http("GET /_ping", "Connection: keep-alive") + START_OTHER, (200,)
    ),
    Request("denied create behind a list", LIST + http("POST /containers/create", body=_BODIES["privileged"]), (200,)),
    Request("ping behind a denied start", START_OTHER + PING),
    Request("target's start behind a denied start", START_OTHER + START),
    Request("start smuggled in a ping's body", _SMUGGLED),
    Request("start smuggled behind a denied chunked one", http("GET /_ping", _CHUNKED) + b"0\r\n\r\n" + START_OTHER),
    Request(
        "start smuggled behind a chunk of another size", http("GET /_ping", _CHUNKED) + b"1;\n0\r\n\r\n" + START_OTHER
    ),
    Request("start smuggled behind an upgrade", http("GET /_ping", *_UPGRADES["tcp"]) + START_OTHER),
]


def _endpoints(prefix: str) -> Iterator[Request]:
    for line in _ENDPOINTS.strip().splitlines():
        method, start, *ends = line.split()
        for end, _, body in (end.partition("@") for end in ends):
            words = f"{method} {prefix}{start}{end}"
            yield Request(f"{words} {body}", http(words, body=_BODIES[body]))


DENIED = [
    *_endpoints(""),
    *_endpoints("/v1.44"),
    *(Request(f"GET {url}", http(f"GET {url}")) for url in _GETS.split()),
    *(Request(f"POST {url}", http(f"POST {url}")) for url in _STARTS.split()),
    *(
        Request(f"{way} {what}", http(f"{way} {_PATHS[what]}"))
        for what, ways in _METHODS.items()
        for way in ways.split()
    ),
    *(Request(f"start, upgrade {name}", http(f"POST {_START}", *way)) for name, way in _UPGRADES.items()),
    *(Request(f"ping, upgrade {name}", http("GET /_ping", *way)) for name, way in _UPGRADES.items()),
    *(Request(f"start, {name}", http(f"POST {_START}", *how) + _CHUNKS) for name, how in _LENGTHS.items()),
    Request("start with the host's root", http(f"POST {_START}", body='{"Binds": ["/:/host"]}')),
    *(Request(name, raw) for name, raw in _MALFORMED.items()),
    *_SEQUENCES,
]
