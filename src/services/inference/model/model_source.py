"""Gets a version of the model, loaded: from the cache where it has a good copy, else from MLflow."""

import asyncio
import logging
import os
import weakref
from pathlib import Path
from typing import Protocol

from src.core.errors import InvalidModelError
from src.core.model_registry import LOCAL_MANIFEST_FILE, write_manifest
from src.services.inference.model.model_cache import ModelCache
from src.services.inference.model.model_loader import load_predictor
from src.services.inference.model.model_version import ModelVersion
from src.services.inference.model.predictor import Predictor, Source

logger = logging.getLogger(__name__)


class Registry(Protocol):
    """Where models come from. Both methods raise LoopError."""

    async def champion(self) -> ModelVersion | None:
        """The version to serve, if there is one."""

    async def download(self, version: ModelVersion, directory: Path) -> None:
        """Put the version's files into an existing, empty directory."""


class ModelSource:
    """Loads models.

    Args:
        registry: gives their files.
        cache: keeps the files.
    """

    def __init__(self, registry: Registry, cache: ModelCache) -> None:
        self._registry = registry
        self._cache = cache

    async def load(self, version: ModelVersion) -> Predictor:
        """The version from the cache, or else from MLflow. Raises as ``from_registry`` does."""
        return await self.from_cache(version) or await self.from_registry(version)

    async def from_cache(self, version: ModelVersion) -> Predictor | None:
        """The version from the cache, or None where that has no good copy of it. Raises OSError."""
        entry = await asyncio.to_thread(self._cache.find, version)
        if entry is None:
            return None
        try:
            return await asyncio.to_thread(self._load, entry, version, "cache")
        except (InvalidModelError, FileNotFoundError) as error:  # damaged, or just removed by another process
            logger.error("dropping version %s from the model cache: %s", version.version, error)  # noqa: TRY400 - one line
            await asyncio.to_thread(self._cache.drop, entry)
            return None

    async def from_registry(self, version: ModelVersion) -> Predictor:
        """The version from MLflow, through the cache.

        Raises:
            InvalidModelError: it cannot be served.
            LoopError: it cannot be had.
            OSError: the cache cannot take it.
        """
        folder = await asyncio.to_thread(self._cache.stage)
        try:
            await self._registry.download(version, folder)
            if not version.verified:
                await asyncio.to_thread(write_manifest, folder, LOCAL_MANIFEST_FILE)
            # Loaded from the place where it stays: a model's code may keep paths, and read files late.
            entry = await asyncio.to_thread(self._cache.adopt, folder, version)
        except BaseException:  # cancellation too must leave no half download behind
            await asyncio.shield(asyncio.to_thread(self._cache.drop, folder))
            raise
        try:
            return await asyncio.to_thread(self._load, entry, version, "registry")
        except InvalidModelError:
            await asyncio.to_thread(self._cache.drop, entry)
            raise

    def _load(self, entry: Path, version: ModelVersion, source: Source) -> Predictor:
        """A predictor whose entry stays in the cache as long as it does."""
        held = self._cache.hold(entry)
        try:
            predictor = load_predictor(entry, version, source)
        except BaseException:
            os.close(held)
            raise
        weakref.finalize(predictor, os.close, held)
        return predictor
