"""Which version of the registered model is meant: what the registry names and what the cache keeps."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, model_validator

# What MLflow tells of a version that another one of the same number does not have.
ORIGIN_FIELDS = ("source", "model_id", "run_id", "creation_timestamp")

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ModelVersion(BaseModel):
    """A version of the registered model, with a digest that tells it from another one of the same number.

    The patterns make ``key`` a safe folder name whatever the registry answers.

    Attributes:
        manifest_sha256: pins the content of a version of our own training pipeline.
        origin_sha256: of where and when any other version was stored: it pins no content.
        onnx_parity: what training said of an ONNX flavour, if it said anything.
        registered_at: when training registered it.
        scores: on the holdout, by name, where they are known.
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
            raise ValueError("a version has either a manifest's digest or an origin's")
        return self

    @property
    def verified(self) -> bool:
        """Whether its files can be checked against what was registered."""
        return self.manifest_sha256 is not None

    @property
    def digest(self) -> str:
        """The one that it has."""
        return self.manifest_sha256 or self.origin_sha256 or ""

    @property
    def key(self) -> str:
        """The version's folder in the cache: other content under the same number is another folder."""
        return f"{self.version}-{self.digest[:12]}"


def origin_of(told: Mapping[str, Any]) -> str:
    """A digest of where and when a version was stored, by what MLflow tells of it."""
    values = "\n".join(str(told.get(field)) for field in ORIGIN_FIELDS)
    return hashlib.sha256(values.encode("utf-8", "replace")).hexdigest()
