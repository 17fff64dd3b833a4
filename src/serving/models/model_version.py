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
# What reading fields of an answer that is not MLflow's may raise.
MALFORMED = (TypeError, AttributeError, KeyError, ValueError, OverflowError)

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Version(BaseModel):
    """What any version may have; ``scores`` are the gate's on the holdout, by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    version: str
    run_id: str | None = None
    zenml_run_id: str | None = None
    registered_at: AwareDatetime | None = None
    scores: dict[str, FiniteFloat] = {}


class ModelVersion(_Version):
    """A version that can be served, with a digest that distinguishes it from others with the same number.

    A version of the training pipeline has the digest of its manifest, which verifies the content; any other has one of
    where and when it was stored. The patterns make ``key`` a safe folder name for any answer of the registry.
    """

    name: str
    version: Annotated[str, Field(pattern=r"^[0-9]{1,18}$")]
    manifest_sha256: Digest | None = None
    origin_sha256: Digest | None = None
    onnx_parity: str | None = None

    @model_validator(mode="after")
    def _has_one_digest(self) -> Self:
        if (self.manifest_sha256 is None) == (self.origin_sha256 is None):
            raise ValueError("a version has either a manifest digest or an origin digest")
        return self

    @classmethod
    def from_mlflow(cls, name: str, fields: Mapping[str, Any]) -> Self:
        """The version with these fields; raises one of ``MALFORMED`` if MLflow does not answer like this."""
        tags = _tags_of(fields)
        digest = tags.get(TAG_MANIFEST_SHA256)
        origin = "\n".join(str(fields.get(field)) for field in ORIGIN_FIELDS).encode("utf-8", "replace")
        return cls(
            name=name,
            manifest_sha256=digest,
            origin_sha256=hashlib.sha256(origin).hexdigest() if digest is None else None,
            onnx_parity=tags.get(TAG_PARITY),
            **_common(fields, tags),
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


class RegisteredVersion(_Version):
    """A version under an alias, whether or not it can be served."""

    verdict: str | None = None  # the gate's, with its reason
    reason: str | None = None
    rolled_back_to: str | None = None  # where its last rollback went, or would have gone if it failed
    pending_previous: str | None = None  # where ``previous`` must point, until this version's promotion is complete

    @classmethod
    def from_mlflow(cls, fields: Mapping[str, Any]) -> Self:
        """The version with these fields; raises one of ``MALFORMED`` if MLflow does not answer like this."""
        tags = _tags_of(fields)
        return cls(
            verdict=tags.get(TAG_VERDICT),
            reason=tags.get(TAG_REASON),
            rolled_back_to=tags.get(TAG_ROLLBACK_TO),
            pending_previous=tags.get(TAG_PENDING_PREVIOUS),
            **_common(fields, tags),
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


def _tags_of(fields: Mapping[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in fields.get("tags", [])}


def _common(fields: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, Any]:
    """The values of ``_Version``; scores that are not finite numbers are ignored."""
    scores = {}
    for key, text in tags.items():
        if key.startswith(TAG_SCORE):
            with contextlib.suppress(ValueError):
                scores[key.removeprefix(TAG_SCORE)] = float(text)
    milliseconds = fields.get("creation_timestamp")  # a number, or its text
    return {
        "version": str(fields["version"]),
        "run_id": fields.get("run_id") or None,
        "zenml_run_id": tags.get(TAG_ZENML_RUN_ID),
        "registered_at": None if milliseconds is None else datetime.fromtimestamp(int(str(milliseconds)) / 1000, UTC),
        "scores": {name: value for name, value in scores.items() if math.isfinite(value)},
    }
