"""Reads the champion's version and the files that serving needs, through MLflow's REST API."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from pydantic import ValidationError

from src.core.errors import RegistryError
from src.core.model_registry import (
    BYTECODE_FOLDER,
    CHAMPION,
    MLMODEL_FILE,
    TAG_MANIFEST_SHA256,
    TAG_PARITY,
    TAG_ZENML_RUN_ID,
)
from src.serving.models.mlflow_http import MlflowHttp
from src.serving.models.model_loader import SERVED_FILES, choose_engine
from src.serving.models.model_version import ModelVersion, origin_of
from src.serving.models.registry_answers import API, moment_of, names_nothing, scores_of, tags_of

ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
PROXIED_SCHEME = "mlflow-artifacts"
MAX_MODEL_BYTES = 1 << 30
MAX_FILES = 1000
MAX_DEPTH = 8


class RegistryClient:
    """Reads one registered model. Close it with ``aclose``.

    Args:
        base_url: the MLflow server.
        model_name: the registered model.
        timeout: seconds for one look-up, and between two packets of a download.
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
        self._max_model_bytes = max_model_bytes
        self._http = MlflowHttp(base_url, timeout=timeout, transport=transport)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def champion(self) -> ModelVersion | None:
        """The version under the champion alias, or None if there is none yet.

        Raises:
            ConnectionFailedError: MLflow cannot be reached or refuses the request.
            RegistryError: its answer violates the registry contract.
        """
        answer = await self._http.get(f"{API}/registered-models/alias", {"name": self._name, "alias": CHAMPION})
        if names_nothing(answer):
            return None
        found = self._http.json_of(answer).get("model_version")
        if not isinstance(found, dict):
            raise RegistryError(f"MLflow at {self._http.shown_url} returned no version; is it an MLflow server?")
        try:
            tags = tags_of(found)
            digest = tags.get(TAG_MANIFEST_SHA256)
            return ModelVersion(
                name=self._name,
                version=found.get("version"),
                manifest_sha256=digest,
                origin_sha256=origin_of(found) if digest is None else None,
                run_id=found.get("run_id") or None,
                onnx_parity=tags.get(TAG_PARITY),
                registered_at=moment_of(found.get("creation_timestamp")),
                scores=scores_of(tags),
                zenml_run_id=tags.get(TAG_ZENML_RUN_ID),
            )
        except (ValidationError, TypeError, KeyError, ValueError, OverflowError) as error:
            raise RegistryError(
                f"the champion of {self._name} has no valid version or {TAG_MANIFEST_SHA256} tag; "
                "register it with the training pipeline, or move the alias to a version that has them"
            ) from error

    async def download(self, version: ModelVersion, directory: Path) -> None:
        """Download the files that serving needs into an existing, empty directory.

        Raises:
            ConnectionFailedError: MLflow cannot be reached or refuses the request.
            RegistryError: a file is missing, too large, or not behind MLflow's artifact proxy.
            InvalidModelError: by its description, the model cannot be served.
            OSError: the files cannot be written.
        """
        root = await self._artifact_root(version)
        sizes, folders = await self._list(root)
        if MLMODEL_FILE not in sizes:
            raise RegistryError(f"version {version.version} lacks {MLMODEL_FILE}: it is not an MLflow model")
        budget = self._max_model_bytes
        # First, because it determines which others are needed, and whether the model can be served.
        budget -= await self._fetch(root, MLMODEL_FILE, directory, budget, version)
        choice = await asyncio.to_thread(choose_engine, directory, version)
        if version.verified and choice.name == "onnx":
            missing = [name for name in SERVED_FILES if name not in sizes]
            if missing:
                raise RegistryError(f"version {version.version} lacks {', '.join(missing)}; train it again")
            sizes = {name: sizes[name] for name in SERVED_FILES}
        else:
            sizes = await self._list_below(root, sizes, folders, version)
        if sum(sizes.values()) > self._max_model_bytes:
            raise RegistryError(self._too_large(version))
        for name in sizes:
            if name != MLMODEL_FILE:
                budget -= await self._fetch(root, name, directory, budget, version)

    async def _artifact_root(self, version: ModelVersion) -> str:
        """The version's folder behind the artifact proxy, without leading and trailing slashes."""
        params = {"name": version.name, "version": version.version}
        location = (await self._http.get_json(f"{API}/model-versions/get-download-uri", params)).get("artifact_uri")
        parts = urlsplit(str(location))
        if parts.scheme != PROXIED_SCHEME or parts.netloc not in {"", self._http.host}:
            raise RegistryError(
                f"version {version.version} is stored outside MLflow's artifact proxy ({parts.scheme or 'a path'}:…); "
                "start the MLflow server with --artifacts-destination and train again"
            )
        segments = [segment for segment in parts.path.split("/") if segment]
        if not segments or not all(map(_is_plain_name, segments)):
            raise RegistryError(f"version {version.version} has an unusable artifact location")
        return "/".join(segments)

    async def _list(self, folder: str) -> tuple[dict[str, int], list[str]]:
        """Files in a folder of the proxy with their sizes in bytes, and the folders in it."""
        listing = (await self._http.get_json(ARTIFACTS, {"path": folder})).get("files", [])
        sizes, folders = {}, []
        try:
            for entry in listing:
                name = entry["path"]
                if not _is_plain_name(name):
                    raise RegistryError("MLflow lists a file outside the model's folder; the model is refused")
                if entry.get("is_dir", False):
                    folders.append(name)
                else:
                    sizes[name] = int(entry.get("file_size", 0))
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise RegistryError(f"MLflow at {self._http.shown_url} did not return a file listing") from error
        return sizes, folders

    async def _list_below(
        self, root: str, sizes: dict[str, int], folders: list[str], version: ModelVersion
    ) -> dict[str, int]:
        """All files of a model, relative to its root, given the root's entries; bytecode is excluded."""
        found = dict(sizes)
        waiting = [name for name in folders if name != BYTECODE_FOLDER]
        while waiting:
            folder = waiting.pop()
            files, below = await self._list(f"{root}/{folder}")
            found |= {f"{folder}/{name}": size for name, size in files.items()}
            waiting += [f"{folder}/{name}" for name in below if name != BYTECODE_FOLDER]
            if len(found) + len(waiting) > MAX_FILES or any(name.count("/") >= MAX_DEPTH for name in waiting):
                raise RegistryError(
                    f"version {version.version} has more than {MAX_FILES} files or folders deeper than {MAX_DEPTH}"
                )
        return found

    async def _fetch(self, root: str, name: str, directory: Path, budget: int, version: ModelVersion) -> int:
        """Download one file; return its size in bytes. The listed sizes are not trusted."""
        target = directory / name
        await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
        path = f"{ARTIFACTS}/{root}/{name}"
        return await self._http.fetch(path, target, budget=budget, too_large=self._too_large(version))

    def _too_large(self, version: ModelVersion) -> str:
        return f"version {version.version} is larger than {self._max_model_bytes} bytes"


def _is_plain_name(name: object) -> bool:
    """Whether a listed name is a single, safe path segment."""
    return isinstance(name, str) and name not in {"", ".", ".."} and not set(name) & {"/", "\\", "\0"}
