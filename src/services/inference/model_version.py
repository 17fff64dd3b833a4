"""Which version of the registered model is meant: what the registry names and what the cache keeps."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class ModelVersion(BaseModel):
    """A version of the registered model with the digest that pins its content.

    The patterns make ``key`` a safe folder name whatever the registry answers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: str
    version: Annotated[str, Field(pattern=r"^[0-9]{1,18}$")]
    manifest_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    run_id: str | None = None

    @property
    def key(self) -> str:
        """The version's folder in the cache: other content under the same number is another folder."""
        return f"{self.version}-{self.manifest_sha256[:12]}"
