"""Downloads the version to score with, once per run."""

import asyncio
from pathlib import Path

from src.core.errors import RegistryError
from src.core.model_registry import CHAMPION, LOCAL_MANIFEST_FILE, write_manifest
from src.serving.models.model_version import ModelVersion
from src.serving.models.registry_client import RegistryClient

TIMEOUT_SECONDS = 30.0


def download_model(client: RegistryClient, version: str | None, folder: Path) -> ModelVersion:
    """Download a version, or the champion, into a new folder.

    Raises:
        RegistryError: there is no such version, or MLflow's answers violate the registry contract.
        ConnectionFailedError: MLflow does not answer.
        InvalidModelError: the model cannot be served.
        OSError: the files cannot be written.
    """
    folder.mkdir()
    return asyncio.run(_download(client, version, folder))


async def _download(client: RegistryClient, version: str | None, folder: Path) -> ModelVersion:
    try:
        found = await (client.champion() if version is None else client.servable(version))
        if found is None:
            what = f"alias {CHAMPION}; train first" if version is None else f"version {version}"
            raise RegistryError(f"the registered model has no {what}")
        await client.download(found, folder)
    finally:
        await client.aclose()
    if not found.verified:
        await asyncio.to_thread(write_manifest, folder, LOCAL_MANIFEST_FILE)
    return found
