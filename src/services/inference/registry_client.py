"""MLflow over plain REST: which version is champion, and the files of it that serving needs."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from pydantic import ValidationError

from src.core.errors import ConnectionFailedError, LoopError, RegistryError
from src.core.model_registry import CHAMPION, TAG_MANIFEST_SHA256, says_missing
from src.services.inference.model_version import ModelVersion
from src.services.inference.predictor import SERVED_FILES

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
PROXIED_SCHEME = "mlflow-artifacts"
MAX_MODEL_BYTES = 1 << 30
CHUNK_BYTES = 1 << 18
# MLflow's server closes idle connections after five seconds; one kept longer may be closed under our request.
KEEPALIVE_SECONDS = 2.0


class RegistryClient:
    """Reads one registered model. Close it with ``aclose``.

    Args:
        base_url: the MLflow server.
        model_name: the registered model.
        timeout: seconds for one look-up, and for each silence during a download.
        transport: replaces the network.
        max_model_bytes: largest download of one version.
    """

    def __init__(
        self,
        base_url: str,
        model_name: str,
        *,
        timeout: float,
        transport: httpx.AsyncBaseTransport | None = None,
        max_model_bytes: int = MAX_MODEL_BYTES,
    ) -> None:
        self._name = model_name
        self._timeout = timeout
        self._max_model_bytes = max_model_bytes
        limits = httpx.Limits(max_connections=4, keepalive_expiry=KEEPALIVE_SECONDS)
        self._client = httpx.AsyncClient(base_url=base_url, timeout=timeout, limits=limits, transport=transport)
        # Without the user name and password that a URL may carry.
        self._shown_url = str(self._client.base_url.copy_with(username=None, password=None)).rstrip("/")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def champion(self) -> ModelVersion | None:
        """The version under the champion alias, or None where there is none yet.

        Raises:
            ConnectionFailedError: MLflow cannot be reached or refuses us.
            RegistryError: its answer is not what the registry contract promises.
        """
        answer = await self._get(f"{API}/registered-models/alias", {"name": self._name, "alias": CHAMPION})
        if _names_nothing(answer):
            return None
        found = self._json(answer).get("model_version")
        if not isinstance(found, dict):
            raise RegistryError(f"MLflow at {self._shown_url} names no version in its answer; is it an MLflow server?")
        try:
            tags = {tag["key"]: tag["value"] for tag in found.get("tags", [])}
            return ModelVersion(
                name=self._name,
                version=found.get("version"),
                manifest_sha256=tags.get(TAG_MANIFEST_SHA256, ""),
                run_id=found.get("run_id") or None,
            )
        except (ValidationError, TypeError, KeyError) as error:
            raise RegistryError(
                f"the champion of {self._name} has no valid {TAG_MANIFEST_SHA256} tag; "
                "register it with the training pipeline or move the alias to a version that was"
            ) from error

    async def download(self, version: ModelVersion, directory: Path) -> None:
        """Fetch the files that serving needs into an existing, empty directory.

        Raises:
            ConnectionFailedError: MLflow cannot be reached or refuses us.
            RegistryError: a file is missing, too large, or not behind MLflow's artifact proxy.
            OSError: the directory cannot take the files.
        """
        root = await self._artifact_root(version)
        sizes = await self._list(root)
        missing = [name for name in SERVED_FILES if name not in sizes]
        if missing:
            raise RegistryError(f"version {version.version} lacks {', '.join(missing)}; train it again")
        budget = self._max_model_bytes
        if sum(sizes[name] for name in SERVED_FILES) > budget:
            raise RegistryError(self._too_large(version))
        for name in SERVED_FILES:
            budget -= await self._fetch(f"{root}/{name}", directory / name, budget, self._too_large(version))

    async def _artifact_root(self, version: ModelVersion) -> str:
        """The version's folder behind the artifact proxy, without slashes at its ends."""
        params = {"name": version.name, "version": version.version}
        location = self._json(await self._get(f"{API}/model-versions/get-download-uri", params)).get("artifact_uri")
        parts = urlsplit(str(location))
        if parts.scheme != PROXIED_SCHEME or parts.netloc not in {"", urlsplit(self._shown_url).netloc}:
            raise RegistryError(
                f"version {version.version} is stored outside MLflow's artifact proxy ({parts.scheme or 'a path'}:…); "
                "start the MLflow server with --artifacts-destination and train again"
            )
        segments = [segment for segment in parts.path.split("/") if segment]
        if not segments or not all(map(_is_plain_name, segments)):
            raise RegistryError(f"version {version.version} has an unusable artifact location")
        return "/".join(segments)

    async def _list(self, root: str) -> dict[str, int]:
        """Files in a folder of the proxy with their sizes in bytes."""
        listing = self._json(await self._get(ARTIFACTS, {"path": root})).get("files", [])
        sizes = {}
        try:
            for entry in listing:
                name = entry["path"]
                if not _is_plain_name(name):
                    raise RegistryError("MLflow lists a file outside the model's folder; the model is refused")
                if not entry.get("is_dir", False):
                    sizes[name] = int(entry.get("file_size", 0))
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise RegistryError(f"MLflow at {self._shown_url} answers no file listing") from error
        return sizes

    async def _fetch(self, path: str, target: Path, budget: int, too_large: str) -> int:
        """Stream one file to disk; return its bytes. The announced sizes are not trusted."""
        taken = 0
        file = await asyncio.to_thread(target.open, "xb")
        try:
            async with self._client.stream("GET", f"{ARTIFACTS}/{quote(path)}") as answer:
                self._check(answer)
                async for chunk in answer.aiter_bytes(CHUNK_BYTES):
                    taken += len(chunk)
                    if taken > budget:
                        raise RegistryError(too_large)
                    await asyncio.to_thread(file.write, chunk)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        finally:
            await asyncio.to_thread(file.close)
        return taken

    async def _get(self, path: str, params: Mapping[str, str]) -> httpx.Response:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._client.get(path, params=params)
        except (httpx.HTTPError, TimeoutError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> LoopError:
        return ConnectionFailedError(
            f"MLflow at {self._shown_url} cannot be reached ({type(error).__name__}); "
            "check that it runs and that MLFLOW_TRACKING_URI is right"
        )

    def _check(self, answer: httpx.Response) -> None:
        if answer.status_code in {401, 403}:
            raise ConnectionFailedError(
                f"MLflow at {self._shown_url} refuses us ({answer.status_code}); check its credentials and "
                "that its --allowed-hosts names this host"
            )
        if answer.status_code != httpx.codes.OK:
            raise RegistryError(
                f"MLflow at {self._shown_url} answers {answer.status_code} to {answer.request.url.path}"
            )

    def _json(self, answer: httpx.Response) -> dict[str, Any]:
        self._check(answer)
        try:
            content = answer.json()
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise RegistryError(f"MLflow at {self._shown_url} answers no JSON object; is it an MLflow server?")
        return content

    def _too_large(self, version: ModelVersion) -> str:
        return f"version {version.version} is larger than {self._max_model_bytes} bytes"


def _is_plain_name(name: object) -> bool:
    """Whether a listed name is one path segment that stays where it is."""
    return isinstance(name, str) and name not in {"", ".", ".."} and not set(name) & {"/", "\\", "\0"}


def _names_nothing(answer: httpx.Response) -> bool:
    """Whether MLflow says that the model, or its alias, does not exist."""
    if answer.status_code not in {400, 404}:
        return False
    try:
        content = answer.json()
    except ValueError:
        return False
    return isinstance(content, dict) and says_missing(content.get("error_code"), content.get("message"))
