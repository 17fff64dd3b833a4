"""Versions of the registered model, as MLflow describes them; its tags and fields may contain anything."""

import contextlib
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from src.core.model_registry import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    TAG_MANIFEST_SHA256,
    TAG_PARITY,
    TAG_PENDING_PREVIOUS,
    TAG_REASON,
    TAG_ROLLBACK_TO,
    TAG_SCORE,
    TAG_VERDICT,
    TAG_ZENML_RUN_ID,
)

# MLflow's fields of a version that differ between versions with the same number.
ORIGIN_FIELDS = ("source", "model_id", "run_id", "creation_timestamp")

# In the order of the fields of ``Aliases``.
ALIASES = (CHAMPION, CHALLENGER, PREVIOUS)

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ModelVersion(BaseModel):
    """A version that can be served, with a digest that distinguishes it from others with the same number.

    The patterns make ``key`` a safe folder name for any answer of the registry.

    Attributes:
        manifest_sha256: verifies the content of a version of the training pipeline.
        origin_sha256: digest of where and when any other version was stored; it does not verify the content.
        onnx_parity: training's result of the ONNX parity check, if recorded.
        registered_at: when training registered it.
        scores: on the holdout, by name, if known.
        zenml_run_id: the pipeline run that made it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: str
    version: Annotated[str, Field(pattern=r"^[0-9]{1,18}$")]
    manifest_sha256: Digest | None = None
    origin_sha256: Digest | None = None
    run_id: str | None = None
    onnx_parity: str | None = None
    registered_at: AwareDatetime | None = None
    scores: dict[str, FiniteFloat] = {}
    zenml_run_id: str | None = None

    @model_validator(mode="after")
    def _has_one_digest(self) -> Self:
        if (self.manifest_sha256 is None) == (self.origin_sha256 is None):
            raise ValueError("a version has either a manifest digest or an origin digest")
        return self

    @classmethod
    def from_mlflow(cls, name: str, fields: Mapping[str, Any]) -> Self:
        """The version with these fields. Raises as ``RegisteredVersion.from_mlflow`` does."""
        registered, tags = RegisteredVersion.from_mlflow(fields), _tags_of(fields)
        digest = tags.get(TAG_MANIFEST_SHA256)
        return cls(
            name=name,
            version=registered.version,
            manifest_sha256=digest,
            origin_sha256=_origin_of(fields) if digest is None else None,
            run_id=registered.run_id,
            onnx_parity=tags.get(TAG_PARITY),
            registered_at=registered.registered_at,
            scores=registered.scores,
            zenml_run_id=registered.zenml_run_id,
        )

    @property
    def verified(self) -> bool:
        """Whether its files can be verified against the registered manifest."""
        return self.manifest_sha256 is not None

    @property
    def digest(self) -> str:
        """The digest that it has."""
        return self.manifest_sha256 or self.origin_sha256 or ""

    @property
    def key(self) -> str:
        """The version's folder in the cache; other content with the same number has another folder."""
        return f"{self.version}-{self.digest[:12]}"


@dataclass(frozen=True)
class RegisteredVersion:
    """A version under an alias, whether or not it can be served.

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

    @classmethod
    def from_mlflow(cls, fields: Mapping[str, Any]) -> Self:
        """The version with these fields.

        Raises:
            TypeError, KeyError, ValueError, AttributeError, OverflowError: MLflow does not answer like this.
        """
        tags = _tags_of(fields)
        milliseconds = fields.get("creation_timestamp")  # a number, or its text
        return cls(
            version=str(fields["version"]),
            run_id=fields.get("run_id") or None,
            zenml_run_id=tags.get(TAG_ZENML_RUN_ID),
            registered_at=None if milliseconds is None else datetime.fromtimestamp(int(str(milliseconds)) / 1000, UTC),
            scores=_scores_of(tags),
            verdict=tags.get(TAG_VERDICT),
            reason=tags.get(TAG_REASON),
            rolled_back_to=tags.get(TAG_ROLLBACK_TO),
            pending_previous=tags.get(TAG_PENDING_PREVIOUS),
        )


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


def _origin_of(fields: Mapping[str, Any]) -> str:
    """A digest of where and when a version was stored."""
    values = "\n".join(str(fields.get(field)) for field in ORIGIN_FIELDS)
    return hashlib.sha256(values.encode("utf-8", "replace")).hexdigest()


def _tags_of(fields: Mapping[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in fields.get("tags", [])}


def _scores_of(tags: Mapping[str, str]) -> dict[str, float]:
    """The scores among a version's tags; values that are not finite numbers are ignored."""
    found = {}
    for key, text in tags.items():
        if key.startswith(TAG_SCORE):
            with contextlib.suppress(ValueError):
                found[key.removeprefix(TAG_SCORE)] = float(text)
    return {name: value for name, value in found.items() if math.isfinite(value)}
