"""A hand-written MLflow for tests without a network: the few endpoints that serving uses, and ways to break them."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from src.core.model_registry import TAG_MANIFEST_SHA256

# Version n is registered n milliseconds later.
REGISTERED_AT_MS = 1_790_000_000_000
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


@dataclass
class FakeVersion:
    """A registered version: its directory, its tags, where it claims to be stored, and how many ms later than usual."""

    directory: Path
    tags: dict[str, str]
    location: str
    delay: int = 0


@dataclass
class FakeMlflow:
    """Answers as MLflow 3.17 does. ``handle`` is what an ``httpx.MockTransport`` takes.

    Attributes:
        down: refuse every connection.
        aliases: alias to version.
        override: path to an answer that replaces the usual one.
        paths: every path asked for, in order.
        before_answer: called with each path before it is answered.
    """

    model_name: str = "iris"
    down: bool = False
    versions: dict[str, FakeVersion] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    override: dict[str, httpx.Response] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)
    before_answer: Callable[[str], None] = lambda _: None

    def add(self, version: str, directory: Path, digest: str) -> None:
        """Register a version."""
        location = f"mlflow-artifacts:/1/models/m-{version}/artifacts"
        self.versions[version] = FakeVersion(directory, {TAG_MANIFEST_SHA256: digest}, location)

    def promote(self, version: str) -> None:
        """Move the champion alias."""
        self.aliases["champion"] = version

    @property
    def transport(self) -> httpx.MockTransport:
        """The network to this server."""
        return httpx.MockTransport(self.handle)

    @property
    def downloads(self) -> list[str]:
        """The files asked for so far."""
        return [path for path in self.paths if path.startswith(f"{ARTIFACTS}/")]

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        path, params = request.url.path, request.url.params
        self.paths.append(path)
        self.before_answer(path)
        if self.down:
            raise httpx.ConnectError("connection refused", request=request)
        if path in self.override:
            return self.override[path]
        if request.method in {"POST", "DELETE"}:
            return self._change(path, json.loads(request.content))
        return self._read(path, params)

    def _read(self, path: str, params: httpx.QueryParams) -> httpx.Response:
        match path.removeprefix("/api/2.0/"):
            case "mlflow/registered-models/alias":
                return self._alias(params["name"], params["alias"])
            case "mlflow/model-versions/get":
                return self._get(params["version"])
            case "mlflow/model-versions/get-download-uri":
                return httpx.Response(200, json={"artifact_uri": self.versions[params["version"]].location})
            case "mlflow-artifacts/artifacts":
                return self._listing(params["path"])
        return self._file(path.removeprefix(f"{ARTIFACTS}/"))

    def _get(self, version: str) -> httpx.Response:
        if version not in self.versions:
            return _error(404, "RESOURCE_DOES_NOT_EXIST", f"Model Version (name=iris, version={version}) not found")
        tags = [{"key": key, "value": value} for key, value in self.versions[version].tags.items()]
        return httpx.Response(200, json={"model_version": {"version": version, "tags": tags}})

    def _alias(self, name: str, alias: str) -> httpx.Response:
        if name != self.model_name or not self.versions:
            return _error(404, "RESOURCE_DOES_NOT_EXIST", f"Registered Model with name={name} not found")
        if alias not in self.aliases:
            # Not what one expects, but what the server does.
            return _error(400, "INVALID_PARAMETER_VALUE", f"Registered model alias {alias} not found.")
        version = self.aliases[alias]
        tags = [{"key": key, "value": value} for key, value in self.versions[version].tags.items()]
        found = {
            "name": name,
            "version": version,
            "run_id": f"run{version}",
            "creation_timestamp": REGISTERED_AT_MS + int(version) + self.versions[version].delay,
            "tags": tags,
            "aliases": [alias],
        }
        return httpx.Response(200, json={"model_version": found})

    def _change(self, path: str, given: dict[str, str]) -> httpx.Response:
        assert given["name"] == self.model_name
        if given["version"] not in self.versions:
            return self._get(given["version"])
        match path.removeprefix("/api/2.0/mlflow/"):
            case "registered-models/alias":
                self.aliases[given["alias"]] = given["version"]
            case "model-versions/set-tag":
                self.versions[given["version"]].tags[given["key"]] = given["value"]
            case "model-versions/delete-tag":
                self.versions[given["version"]].tags.pop(given["key"], None)
            case other:
                raise AssertionError(f"asked for {other}, which serving does not need")
        return httpx.Response(200, json={})

    def _directory(self, path: str) -> tuple[Path, str]:
        for version in self.versions.values():
            root = version.location.partition(":")[2].strip("/")
            if path == root or path.startswith(f"{root}/"):
                return version.directory, path.removeprefix(root).strip("/")
        raise AssertionError(f"asked for {path}, which no version has")

    def _listing(self, path: str) -> httpx.Response:
        root, below = self._directory(path)
        files = [
            {"path": entry.name, "is_dir": True}
            if entry.is_dir()
            else {"path": entry.name, "is_dir": False, "file_size": entry.stat().st_size}
            for entry in sorted((root / below).iterdir())
        ]
        return httpx.Response(200, content=json.dumps({"files": files}))

    def _file(self, path: str) -> httpx.Response:
        directory, name = self._directory(path)
        file = directory / name
        if not file.is_file():
            return _error(404, "RESOURCE_DOES_NOT_EXIST", f"No such artifact: {path!r}")
        return httpx.Response(200, content=file.read_bytes())


def _error(status: int, code: str, message: str) -> httpx.Response:
    return httpx.Response(status, json={"error_code": code, "message": message})
