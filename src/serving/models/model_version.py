"""Identifies a version of the registered model, in the registry and in the cache."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, model_validator

# MLflow's fields of a version that differ between versions with the same number.
ORIGIN_FIELDS = ("source", "model_id", "run_id", "creation_timestamp")

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ModelVersion(BaseModel):
    """A version of the registered model, with a digest that distinguishes it from others with the same number.

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


def origin_of(fields: Mapping[str, Any]) -> str:
    """A digest of where and when a version was stored, from MLflow's fields."""
    values = "\n".join(str(fields.get(field)) for field in ORIGIN_FIELDS)
    return hashlib.sha256(values.encode("utf-8", "replace")).hexdigest()
