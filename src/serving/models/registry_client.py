"""Client of MLflow's REST API for one registered model: its versions' aliases, tags and files."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx

from src.core.errors import ConnectionFailedError, RegistryError
from src.core.model_registry import (
    BYTECODE_FOLDER,
    CHALLENGER,
    CHAMPION,
    MLMODEL_FILE,
    PREVIOUS,
    TAG_MANIFEST_SHA256,
    says_missing,
)
from src.serving.models.model_loader import choose_engine
from src.serving.models.model_version import MALFORMED, Aliases, ModelVersion, RegisteredVersion

ALIAS = "/api/2.0/mlflow/registered-models/alias"
VERSIONS = "/api/2.0/mlflow/model-versions"
UNSERVABLE = f"has no valid version or tag {TAG_MANIFEST_SHA256}; register it with the training pipeline"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
MAX_MODEL_BYTES = 1 << 30
MAX_FILES = 1000
MAX_DEPTH = 8
CHUNK_BYTES = 1 << 18
# MLflow's server closes idle connections after five seconds; one kept longer might close during a request.
KEEPALIVE_SECONDS = 2.0

V = TypeVar("V", bound=RegisteredVersion)


class RegistryClient:
    """Reads one registered model and moves its aliases. Close it with ``aclose``.

    Every method may raise ConnectionFailedError (MLflow cannot be reached or refuses the request) and RegistryError
    (its answer violates the registry contract). A user name and password in ``base_url`` are used and never logged.
    ``timeout`` is in seconds, for one call, and between two packets of a download. ``transport`` replaces the network.
    """

    def __init__(
        self, base_url: str, model_name: str, *, timeout: float, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._name = model_name
        self._timeout = timeout
        limits = httpx.Limits(max_connections=8, keepalive_expiry=KEEPALIVE_SECONDS)
        self._client = httpx.AsyncClient(base_url=base_url, timeout=timeout, limits=limits, transport=transport)
        self._url = str(self._client.base_url.copy_with(username=None, password=None)).rstrip("/")
        self.aclose = self._client.aclose

    async def champion(self) -> ModelVersion | None:
        """The version to serve, or None if there is none yet."""
        return await self._servable(CHAMPION)

    async def previous(self) -> ModelVersion | None:
        """The version to go back to, or None if there is none."""
        return await self._servable(PREVIOUS)

    async def servable(self, version: str) -> ModelVersion | None:
        """A version by its number; None if it does not exist."""
        answer = await self._ask("GET", f"{VERSIONS}/get", params={"name": self._name, "version": version})
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        try:
            return ModelVersion.from_mlflow(self._name, self._object_in(answer)["model_version"])
        except MALFORMED as error:
            raise RegistryError(f"version {version} of {self._name} {UNSERVABLE}") from error

    async def aliases(self) -> Aliases:
        """The versions under all three aliases."""
        return Aliases(*await asyncio.gather(*map(self.version_of, (CHAMPION, CHALLENGER, PREVIOUS))))

    async def version_of(self, alias: str) -> RegisteredVersion | None:
        """The version an alias points to, if any."""
        problem = f"MLflow at {self._url} does not describe a version as MLflow does"
        return await self._version(alias, RegisteredVersion, problem)

    async def tags_of(self, version: str) -> dict[str, str] | None:
        """The tags of a version; None if the version does not exist."""
        answer = await self._ask("GET", f"{VERSIONS}/get", params={"name": self._name, "version": version})
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        try:
            found = self._object_in(answer)["model_version"]
            return {str(tag["key"]): str(tag["value"]) for tag in found.get("tags", [])}
        except MALFORMED as error:
            raise RegistryError(f"MLflow at {self._url} does not describe version {version} as MLflow does") from error

    async def move(self, alias: str, version: str) -> None:
        """Point an alias to a version."""
        await self._change(ALIAS, alias=alias, version=version)

    async def tag(self, version: str, tags: Mapping[str, str]) -> None:
        """Set tags on a version."""
        for key, value in tags.items():
            await self._change(f"{VERSIONS}/set-tag", version=version, key=key, value=value)

    async def untag(self, version: str, key: str) -> None:
        """Delete a version's tag, if there is such a version."""
        given = {"name": self._name, "version": version, "key": key}
        answer = await self._ask("DELETE", f"{VERSIONS}/delete-tag", json=given)
        if not _is_missing(answer):
            self._check(answer)

    async def download(self, version: ModelVersion, directory: Path) -> None:
        """Download the files that serving needs into an existing, empty directory.

        Also raises InvalidModelError if, by its description, the model cannot be served, and OSError.
        """
        root = await self._artifact_root(version)
        sizes = await self._list(root)
        if MLMODEL_FILE not in sizes:
            raise RegistryError(f"version {version.version} lacks {MLMODEL_FILE}: it is not an MLflow model")
        # First, because it determines which others are needed, and whether the model can be served.
        taken = await self._fetch(root, MLMODEL_FILE, directory, 0)
        needed = (await asyncio.to_thread(choose_engine, directory, version)).files or list(sizes)
        missing = [name for name in needed if name not in sizes]
        if missing:
            raise RegistryError(f"version {version.version} lacks {', '.join(missing)}; train it again")
        _require_size(sum(sizes[name] for name in needed))
        for name in needed:
            if name != MLMODEL_FILE:
                taken = await self._fetch(root, name, directory, taken)

    async def _artifact_root(self, version: ModelVersion) -> str:
        """The version's folder behind the artifact proxy."""
        answer = await self._get(f"{VERSIONS}/get-download-uri", name=version.name, version=version.version)
        parts = urlsplit(str(answer.get("artifact_uri")))
        segments = [segment for segment in parts.path.split("/") if segment]
        proxied = parts.scheme == "mlflow-artifacts" and parts.netloc in {"", urlsplit(self._url).netloc}
        if not (proxied and segments and all(map(_is_plain_name, segments))):
            raise RegistryError(
                f"version {version.version} is stored outside MLflow's artifact proxy ({parts.scheme or 'a path'}:…); "
                "start the MLflow server with --artifacts-destination and train again"
            )
        return "/".join(segments)

    async def _list(self, root: str) -> dict[str, int]:
        """All files of a model, relative to its root, with their listed sizes; compiled Python code is excluded."""
        found: dict[str, int] = {}
        waiting = [""]
        while waiting:
            prefix = waiting.pop()
            answer = await self._get(ARTIFACTS, path=f"{root}/{prefix}".rstrip("/"))
            try:
                for entry in answer.get("files", []):
                    name = entry["path"]
                    if not _is_plain_name(name):
                        raise RegistryError("MLflow lists a file outside the model's folder; the model is refused")
                    if not entry.get("is_dir", False):
                        found[prefix + name] = int(entry.get("file_size", 0))
                    elif name != BYTECODE_FOLDER:
                        waiting.append(f"{prefix}{name}/")
            except MALFORMED as error:
                raise RegistryError(f"MLflow at {self._url} did not return a file listing") from error
            if len(found) + len(waiting) > MAX_FILES or any(name.count("/") > MAX_DEPTH for name in waiting):
                raise RegistryError(f"the model has more than {MAX_FILES} files, or folders deeper than {MAX_DEPTH}")
        return found

    async def _fetch(self, root: str, name: str, directory: Path, taken: int) -> int:
        """Download a file after ``taken`` bytes of others; return the sum. The listed sizes are not trusted."""
        target = directory / name
        await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
        # Opened here: a task that is cancelled while a thread opens a file never gets it, and cannot close it.
        with target.open("xb") as file, self._reaching():
            async with self._client.stream("GET", quote(f"{ARTIFACTS}/{root}/{name}")) as answer:
                self._check(answer)
                async for chunk in answer.aiter_bytes(CHUNK_BYTES):
                    taken += len(chunk)
                    _require_size(taken)
                    await asyncio.to_thread(file.write, chunk)
        return taken

    async def _servable(self, alias: str) -> ModelVersion | None:
        return await self._version(
            alias,
            ModelVersion,
            f"the {alias} of {self._name} {UNSERVABLE}, or move the alias to a version that has them",
        )

    async def _version(self, alias: str, kind: type[V], problem: str) -> V | None:
        """The version that an alias points to; None if the model or its alias does not exist."""
        answer = await self._ask("GET", ALIAS, params={"name": self._name, "alias": alias})
        if _is_missing(answer):
            return None
        fields = self._object_in(answer).get("model_version")
        if not isinstance(fields, dict):
            raise RegistryError(f"MLflow at {self._url} returned no version; is it an MLflow server?")
        try:
            return kind.from_mlflow(self._name, fields)
        except MALFORMED as error:
            raise RegistryError(problem) from error

    async def _get(self, path: str, /, **params: str) -> dict[str, Any]:
        return self._object_in(await self._ask("GET", path, params=params))

    async def _change(self, path: str, **content: str) -> None:
        self._check(await self._ask("POST", path, json={"name": self._name, **content}))

    async def _ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        """MLflow's answer, of any status."""
        with self._reaching():
            async with asyncio.timeout(self._timeout):
                return await self._client.request(method, path, **content)

    def _check(self, answer: httpx.Response) -> None:
        if answer.status_code in {401, 403}:
            raise ConnectionFailedError(
                f"MLflow at {self._url} refused the request ({answer.status_code}); check the credentials and "
                "that its --allowed-hosts includes this host"
            )
        if answer.status_code != httpx.codes.OK:
            raise RegistryError(f"MLflow at {self._url} answers {answer.status_code} to {answer.request.url.path}")

    def _object_in(self, answer: httpx.Response) -> dict[str, Any]:
        self._check(answer)
        with contextlib.suppress(ValueError):
            content = answer.json()
            if isinstance(content, dict):
                return content
        raise RegistryError(f"MLflow at {self._url} did not return a JSON object; is it an MLflow server?")

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, TimeoutError) as error:
            raise ConnectionFailedError(
                f"MLflow at {self._url} cannot be reached ({type(error).__name__}); "
                "check that it runs and that MLFLOW_TRACKING_URI is right"
            ) from error


def _is_missing(answer: httpx.Response) -> bool:
    """Whether MLflow has answered that a model, its version or its alias does not exist."""
    if answer.status_code in {400, 404}:
        with contextlib.suppress(ValueError, AttributeError):
            error = answer.json()
            return says_missing(error.get("error_code"), error.get("message"))
    return False


def _require_size(size: int) -> None:
    if size > MAX_MODEL_BYTES:
        raise RegistryError(f"the model's files are larger than {MAX_MODEL_BYTES} bytes")


def _is_plain_name(name: object) -> bool:
    """Whether a listed name is a single, safe path segment."""
    return isinstance(name, str) and name not in {"", ".", ".."} and not set(name) & {"/", "\\", "\0"}
