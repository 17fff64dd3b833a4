"""MLflow's aliases of the registered model over plain REST: which versions they point to, and moving them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from src.core.errors import RegistryError
from src.core.model_registry import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    TAG_PENDING_PREVIOUS,
    TAG_REASON,
    TAG_ROLLBACK_TO,
    TAG_VERDICT,
    TAG_ZENML_RUN_ID,
)
from src.serving.models.mlflow_http import MlflowHttp
from src.serving.models.registry_answers import API, moment_of, names_nothing, scores_of, tags_of


@dataclass(frozen=True)
class RegisteredVersion:
    """A registered version, as the page shows it.

    Attributes:
        scores: the gate's holdout scores by name.
        verdict: the gate's, with its ``reason``; None before the gate has decided.
        rolled_back_to: the version that its last rollback went to, or would have gone to if it failed.
        pending_previous: the version that ``previous`` must point to, until this version's promotion is complete.
    """

    version: str
    run_id: str | None
    zenml_run_id: str | None
    registered_at: datetime | None
    scores: dict[str, float]
    verdict: str | None = None
    reason: str | None = None
    rolled_back_to: str | None = None
    pending_previous: str | None = None


@dataclass(frozen=True)
class Aliases:
    """The versions that the aliases point to; None for an alias that does not exist."""

    champion: RegisteredVersion | None
    challenger: RegisteredVersion | None
    previous: RegisteredVersion | None

    @property
    def taken_back(self) -> frozenset[str]:
        """Versions from which a rollback went to the current champion."""
        if self.champion is None:
            return frozenset()
        champion = self.champion.version
        others = [version for version in (self.challenger, self.previous) if version is not None]
        # The tags are written before the aliases move, and are kept if the move fails.
        return frozenset(version.version for version in others if version.version != champion == version.rolled_back_to)


class AliasClient:
    """Reads and moves one registered model's aliases. Close it with ``aclose``.

    Args:
        base_url: the MLflow server.
        model_name: the registered model.
        timeout: seconds for one call.
        transport: replaces the network.
    """

    def __init__(
        self, base_url: str, model_name: str, *, timeout: float, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._name = model_name
        self._http = MlflowHttp(base_url, timeout=timeout, transport=transport)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def read(self) -> Aliases:
        """All three at once. Raises ConnectionFailedError, RegistryError."""
        return Aliases(*await asyncio.gather(*map(self.version_of, (CHAMPION, CHALLENGER, PREVIOUS))))

    async def version_of(self, alias: str) -> RegisteredVersion | None:
        """The version an alias points to, if any. Raises ConnectionFailedError, RegistryError."""
        answer = await self._http.get(f"{API}/registered-models/alias", {"name": self._name, "alias": alias})
        if names_nothing(answer):
            return None
        try:
            return _registered(self._http.json_of(answer)["model_version"])
        except (TypeError, AttributeError, KeyError, ValueError, OverflowError) as error:
            raise RegistryError(
                f"MLflow at {self._http.shown_url} does not describe a version as MLflow does"
            ) from error

    async def move(self, alias: str, version: str) -> None:
        """Point an alias to a version. Raises ConnectionFailedError, RegistryError."""
        await self._http.post(
            f"{API}/registered-models/alias", {"name": self._name, "alias": alias, "version": version}
        )

    async def tag(self, version: str, tags: Mapping[str, str]) -> None:
        """Set tags on a version. Raises ConnectionFailedError, RegistryError."""
        for key, value in tags.items():
            content = {"name": self._name, "version": version, "key": key, "value": value}
            await self._http.post(f"{API}/model-versions/set-tag", content)

    async def untag(self, version: str, key: str) -> None:
        """Delete a version's tag. Raises ConnectionFailedError, RegistryError."""
        content = {"name": self._name, "version": version, "key": key}
        await self._http.delete(f"{API}/model-versions/delete-tag", content)


def _registered(found: Mapping[str, Any]) -> RegisteredVersion:
    tags = tags_of(found)
    return RegisteredVersion(
        version=str(found["version"]),
        run_id=found.get("run_id") or None,
        zenml_run_id=tags.get(TAG_ZENML_RUN_ID),
        registered_at=moment_of(found.get("creation_timestamp")),
        scores=scores_of(tags),
        verdict=tags.get(TAG_VERDICT),
        reason=tags.get(TAG_REASON),
        rolled_back_to=tags.get(TAG_ROLLBACK_TO),
        pending_previous=tags.get(TAG_PENDING_PREVIOUS),
    )
