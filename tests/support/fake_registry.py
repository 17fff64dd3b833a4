"""A container registry, written by hand after the distribution protocol: tokens, manifest lists, and its refusals."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
TOKEN = "anonymous"  # noqa: S105 - what anybody is given


class FakeRegistry(ThreadingHTTPServer):
    """Has the images ``whole`` (amd64 and arm64), ``half`` (amd64 in a list) and ``single`` (amd64 without a list).

    It wants a token for each. ``limited`` is answered with 429, ``broken`` with 503, ``private`` with 403 by the token
    server, ``nowhere`` with 401 in spite of the token (as Docker Hub answers for a repository that does not exist), and
    everything else with 404.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.documents: dict[str, tuple[str, bytes]] = {}
        self.add("whole", self.image_list("amd64", "arm64"))
        self.add("half", self.image_list("amd64"))
        self.add("single", self.image("amd64"))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def add(self, name: str, descriptor: dict[str, Any]) -> None:
        self.documents[f"{name}/1.0"] = self.documents[descriptor["digest"]]

    def document(self, media_type: str, content: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps(content).encode()
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        self.documents[digest] = (media_type, body)
        return {"mediaType": media_type, "digest": digest, "size": len(body)}

    def image(self, architecture: str) -> dict[str, Any]:
        rootfs = {"type": "layers", "diff_ids": []}
        config = self.document(CONFIG, {"architecture": architecture, "os": "linux", "rootfs": rootfs})
        return self.document(MANIFEST, {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []})

    def image_list(self, *architectures: str) -> dict[str, Any]:
        images = [{**self.image(name), "platform": {"architecture": name, "os": "linux"}} for name in architectures]
        return self.document(INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": images})


class _Handler(BaseHTTPRequestHandler):
    server: FakeRegistry
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/token":
            if "private" in query:
                self._refuse(403, "DENIED", "requested access to the resource is denied")
            else:
                self._answer(200, "application/json", json.dumps({"token": TOKEN}).encode())
            return
        name, _, reference = path.removeprefix("/v2/").replace("/blobs/", "/manifests/").partition("/manifests/")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" or name == "nowhere":
            self._refuse(401, "UNAUTHORIZED", "authentication required", name)
        elif name == "limited":
            self._refuse(429, "TOOMANYREQUESTS", "You have reached your unauthenticated pull rate limit.")
        elif name == "broken":
            self._refuse(503, "UNAVAILABLE", "service unavailable")
        else:
            found = self.server.documents.get(reference) or self.server.documents.get(f"{name}/{reference}")
            if found:
                self._answer(200, *found)
            else:
                self._refuse(404, "MANIFEST_UNKNOWN", "manifest unknown")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _refuse(self, status: int, code: str, message: str, scope: str = "") -> None:
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self._answer(status, "application/json", body, scope)

    def _answer(self, status: int, media_type: str, body: bytes, scope: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        if status == 200:
            self.send_header("Docker-Content-Digest", "sha256:" + hashlib.sha256(body).hexdigest())
        if scope:
            realm = f"http://{self.server.address}/token"
            wanted = f'Bearer realm="{realm}",service="fake",scope="repository:{scope}:pull"'
            self.send_header("WWW-Authenticate", wanted)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keeps the tests' output clean."""
