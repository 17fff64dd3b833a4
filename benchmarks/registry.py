"""A fake MLflow registry with one model under two versions: each change of the alias is a swap."""

import contextlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from src.core.model_registry import MANIFEST_FILE, PREVIOUS, TAG_MANIFEST_SHA256, sha256_file

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
LOCATION = "1/models/m-1/artifacts"


class SwappingRegistry:
    """The endpoints of MLflow that serving uses.

    Args:
        model: the model's folder.
        name: the registered model.
    """

    def __init__(self, model: Path, name: str) -> None:
        self._model = model
        self._name = name
        self._digest = sha256_file(model / MANIFEST_FILE)
        self.version = 1

    @property
    def previous(self) -> int:
        """The version that is not the champion."""
        return 3 - self.version

    def swap(self) -> int:
        """Move the alias to the other version; return its number."""
        self.version = self.previous
        return self.version

    def answer(self, target: str) -> bytes:
        """MLflow's response to a GET. Raises OSError for a missing file."""
        parts = urlsplit(target)
        if parts.path in {f"{API}/registered-models/alias", f"{API}/model-versions/get"}:
            tags = [{"key": TAG_MANIFEST_SHA256, "value": self._digest}]
            asked = parse_qs(parts.query)
            number = self.previous if asked.get("alias") == [PREVIOUS] else asked.get("version", [self.version])[0]
            version = {"name": self._name, "version": str(number), "tags": tags}
            return json.dumps({"model_version": version}).encode()
        if parts.path == f"{API}/model-versions/get-download-uri":
            return json.dumps({"artifact_uri": f"mlflow-artifacts:/{LOCATION}"}).encode()
        if parts.path == ARTIFACTS:
            below = parse_qs(parts.query)["path"][0].removeprefix(LOCATION).strip("/")
            entries = [
                {"path": path.name, "is_dir": path.is_dir(), "file_size": path.stat().st_size}
                for path in (self._model / below).iterdir()
            ]
            return json.dumps({"files": entries}).encode()
        return (self._model / unquote(parts.path).removeprefix(f"{ARTIFACTS}/{LOCATION}/")).read_bytes()

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Serve on a free port until the block ends; yields the URL."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, registry: SwappingRegistry, *arguments: object) -> None:
        self._registry = registry
        super().__init__(*arguments)  # type: ignore[arg-type] # passed by the server

    def do_GET(self) -> None:
        """Respond to a request."""
        try:
            status, body = 200, self._registry.answer(self.path)
        except OSError:
            status, body = 404, b"{}"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""
