"""Versions of the registered model, as MLflow describes them; its tags and fields may contain anything."""

import contextlib
import hashlib
import math
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, Self

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


class RegisteredVersion(BaseModel):
    """A version, whether or not it can be served. Aliases are the tags that hold the values."""

    model_config = ConfigDict(frozen=True, validate_by_name=True, protected_namespaces=())

    version: str
    run_id: str | None = None
    zenml_run_id: str | None = Field(None, validation_alias=TAG_ZENML_RUN_ID)
    registered_at: AwareDatetime | None = None
    scores: dict[str, FiniteFloat] = {}  # the gate's on the holdout, by name
    verdict: str | None = Field(None, validation_alias=TAG_VERDICT)  # the gate's, with its reason
    reason: str | None = Field(None, validation_alias=TAG_REASON)
    # Where its last rollback went, or would have gone if it failed.
    rolled_back_to: str | None = Field(None, validation_alias=TAG_ROLLBACK_TO)
    # Where the alias ``previous`` must point, until this version's promotion is complete.
    pending_previous: str | None = Field(None, validation_alias=TAG_PENDING_PREVIOUS)

    @classmethod
    def from_mlflow(cls, name: str, fields: Mapping[str, Any]) -> Self:
        """The version of a model with these fields; raises one of ``MALFORMED`` if they are not MLflow's."""
        tags = {tag["key"]: tag["value"] for tag in fields.get("tags", [])}
        scores = {}
        for key, text in tags.items():
            if key.startswith(TAG_SCORE):
                with contextlib.suppress(ValueError):
                    scores[key.removeprefix(TAG_SCORE)] = float(text)
        origin = "\n".join(str(fields.get(field)) for field in ORIGIN_FIELDS).encode("utf-8", "replace")
        values = {
            "name": name,
            "version": str(fields["version"]),
            "run_id": fields.get("run_id") or None,
            "registered_at": fields.get("creation_timestamp"),  # milliseconds: a number, or its text
            "scores": {key: score for key, score in scores.items() if math.isfinite(score)},
            "origin_sha256": None if TAG_MANIFEST_SHA256 in tags else hashlib.sha256(origin).hexdigest(),
        }
        return cls.model_validate(tags | values, by_name=False, by_alias=True)


class ModelVersion(RegisteredVersion):
    """A version that can be served, with a digest that distinguishes it from others with the same number.

    A version of the training pipeline has the digest of its manifest, which verifies the content; any other has one of
    where and when it was stored. The patterns make ``key`` a safe folder name for any answer of the registry.
    """

    name: str
    version: Annotated[str, Field(pattern=r"^[0-9]{1,18}$")]
    manifest_sha256: Digest | None = Field(None, validation_alias=TAG_MANIFEST_SHA256)
    origin_sha256: Digest | None = None
    onnx_parity: str | None = Field(None, validation_alias=TAG_PARITY)

    @model_validator(mode="after")
    def _has_one_digest(self) -> Self:
        if (self.manifest_sha256 is None) == (self.origin_sha256 is None):
            raise ValueError("a version has either a manifest digest or an origin digest")
        return self

    @property
    def verified(self) -> bool:
        """Whether its files can be verified against the registered manifest."""
        return self.manifest_sha256 is not None

    @property
    def key(self) -> str:
        """Its folder in the cache. Versions with the same number and other content have different keys."""
        return f"{self.version}-{(self.manifest_sha256 or self.origin_sha256 or '')[:12]}"


class Aliases(NamedTuple):
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
        # The tags are written before the aliases move, and are kept if the move fails.
        return frozenset(one.version for one in self if one and one.version != champion == one.rolled_back_to)
