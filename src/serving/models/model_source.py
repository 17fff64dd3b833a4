"""Loads a version of the model from the cache if it has a good copy, else from MLflow."""

import asyncio
import logging
import os
import weakref
from pathlib import Path

from src.core.errors import InvalidModelError
from src.core.model_registry import LOCAL_MANIFEST_FILE, write_manifest
from src.serving.models.model_cache import ModelCache
from src.serving.models.model_loader import load_predictor
from src.serving.models.model_version import ModelVersion
from src.serving.models.predictor import Predictor, Source
from src.serving.models.registry_client import RegistryClient

logger = logging.getLogger(__name__)


class ModelSource:
    """Loads models, whose files come from the registry and stay in the cache."""

    def __init__(self, registry: RegistryClient, cache: ModelCache) -> None:
        self._registry = registry
        self._cache = cache

    async def load(self, version: ModelVersion) -> Predictor:
        """The version from the cache, else from MLflow. Raises as ``from_registry`` does."""
        return await self.from_cache(version) or await self.from_registry(version)

    async def from_cache(self, version: ModelVersion) -> Predictor | None:
        """The version from the cache, or None if it has no good copy. Raises OSError."""
        try:
            return await asyncio.to_thread(self._load, self._cache.entry(version), version, "cache")
        except FileNotFoundError:  # no copy, or another process has just deleted it
            return None
        except InvalidModelError as error:
            logger.error("dropping version %s from the model cache: %s", version.version, error)  # noqa: TRY400 - one line
            return None

    async def from_registry(self, version: ModelVersion) -> Predictor:
        """The version from MLflow, stored in the cache.

        Raises InvalidModelError if it cannot be served, another LoopError if it cannot be downloaded, and OSError.
        """
        folder = await asyncio.to_thread(self._cache.stage)
        try:
            await self._registry.download(version, folder)
            if not version.verified:
                await asyncio.to_thread(write_manifest, folder, LOCAL_MANIFEST_FILE)
            # Loaded from its final folder, because a model's code may keep paths and read files later.
            entry = await asyncio.to_thread(self._cache.adopt, folder, version)
        except BaseException:  # also after cancellation, no partial download may remain
            await asyncio.shield(asyncio.to_thread(self._cache.drop, folder))
            raise
        return await asyncio.to_thread(self._load, entry, version, "registry")

    def _load(self, entry: Path, version: ModelVersion, source: Source) -> Predictor:
        """A predictor whose entry stays in the cache as long as it exists; an invalid entry is dropped."""
        held = self._cache.hold(entry)
        try:
            predictor = load_predictor(entry, version, source)
        except BaseException as error:
            if isinstance(error, InvalidModelError):
                self._cache.drop(entry)
            os.close(held)
            raise
        weakref.finalize(predictor, os.close, held)
        return predictor
