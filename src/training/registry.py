"""The model registry for training: looks up, fetches, verifies and tags versions, and moves aliases."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import mlflow.artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from pydantic import ValidationError

from src.core.errors import InvalidModelError, OtherSchemaError
from src.core.feature_schema import FeatureSchema
from src.core.mlmodel import describe, has_flavour, read_mlmodel
from src.core.model_registry import (
    MANIFEST_FILE,
    MLMODEL_FILE,
    ONNX_FILE,
    SKOPS_FILE,
    SPLIT_FILE,
    TAG_MANIFEST_SHA256,
    says_missing,
    verify_manifest,
    versions_filter,
)
from src.core.onnx_engine import OnnxEngine
from src.core.predictions import Engine
from src.training.sklearn_engine import SklearnEngine, load_skops
from src.training.splitting import SplitRule

# Versions per page of MLflow's search.
PAGE = 1000


@dataclass(frozen=True)
class Contract:
    """The interface of a version for its callers: its columns, and its classes (none for a regression)."""

    schema: FeatureSchema
    classes: tuple[str, ...]


@dataclass(frozen=True)
class FetchedModel:
    """A registered version, verified and loaded as serving loads it.

    ``split_rule`` is None where the version was registered before rules were recorded.
    """

    version: str
    schema: FeatureSchema
    engine: Engine
    split_rule: SplitRule | None = None

    @property
    def contract(self) -> Contract:
        """Its interface for callers."""
        return Contract(self.schema, self.engine.classes)


class ModelRegistry:
    """One registered model.

    Args:
        client: of the MLflow server.
        name: the registered model's name.
    """

    def __init__(self, client: MlflowClient, name: str) -> None:
        self._client = client
        self._name = name

    @property
    def name(self) -> str:
        """The registered model's name."""
        return self._name

    def version_of(self, alias: str) -> ModelVersion | None:
        """The version that an alias points to; None where the model or the alias does not exist."""
        try:
            return self._client.get_model_version_by_alias(self._name, alias)
        except MlflowException as error:
            if says_missing(error.error_code, error):
                return None
            raise

    def version(self, number: str) -> ModelVersion:
        """A version's record: its tags, its run and when it was registered."""
        return self._client.get_model_version(self._name, number)

    def parameters(self, version: ModelVersion) -> dict[str, str]:
        """The parameters of the MLflow run that made a version; empty where the run is gone."""
        try:
            return dict(self._client.get_run(str(version.run_id)).data.params)
        except MlflowException as error:
            if says_missing(error.error_code, error):
                return {}
            raise

    def aliases(self) -> dict[str, str]:
        """The version of each alias; empty where the model does not exist."""
        try:
            found = self._client.get_registered_model(self._name).aliases
        except MlflowException as error:
            if says_missing(error.error_code, error):
                return {}
            raise
        return {alias: str(version) for alias, version in found.items()}

    def set_alias(self, alias: str, version: str) -> None:
        """Point an alias to a version."""
        self._client.set_registered_model_alias(self._name, alias, version)

    def tag(self, version: str, tags: dict[str, str]) -> None:
        """Set tags on a version."""
        for key, value in tags.items():
            self._client.set_model_version_tag(self._name, version, key, value)

    def untag(self, version: str, key: str) -> None:
        """Delete a tag of a version."""
        self._client.delete_model_version_tag(self._name, version, key)

    def has(self, version: str) -> bool:
        """Whether this version exists."""
        return any(str(found.version) == version for found in self.versions())

    def versions(self) -> list[ModelVersion]:
        """All versions, newest first, with their tags; none where the model does not exist."""
        found: list[ModelVersion] = []
        token: str | None = None
        while True:
            page = self._client.search_model_versions(versions_filter(self._name), max_results=PAGE, page_token=token)
            found += page
            token = page.token
            if not token:
                return sorted(found, key=lambda version: int(version.version), reverse=True)

    def fetch(self, version: str) -> FetchedModel:
        """Download a version, verify its manifest and load it as serving does; nothing is unpickled.

        Raises:
            OtherSchemaError: it was not registered by this pipeline, so its interface is unknown.
            InvalidModelError: its files are missing or changed, or it is not a model of this pipeline.
            MlflowException, requests.RequestException: the server does not respond.
        """
        digest = self._digest_of(version)
        with tempfile.TemporaryDirectory() as folder:
            directory = Path(folder)
            rule = self._fetch_rule(version, directory, digest)
            self._download(version, directory, MLMODEL_FILE)
            verify_manifest(directory, digest, (MLMODEL_FILE,))
            schema, classes = read_mlmodel(directory)
            found = describe(directory)
            file = ONNX_FILE if has_flavour(directory, "onnx") else SKOPS_FILE
            self._download(version, directory, file)
            verify_manifest(directory, digest, (MLMODEL_FILE, file))
            if file == ONNX_FILE:
                return FetchedModel(
                    version, schema, OnnxEngine(directory / file, schema, classes, found.threshold), rule
                )
            model = load_skops(directory / file, found.code_sha256)
            return FetchedModel(version, schema, SklearnEngine(model, classes, found.threshold), rule)

    def contract(self, version: str) -> Contract:
        """A version's interface for callers, from two small files, even where the model cannot be loaded here.

        Raises: as ``fetch``.
        """
        with tempfile.TemporaryDirectory() as folder:
            directory = Path(folder)
            self._download(version, directory, MANIFEST_FILE, MLMODEL_FILE)
            verify_manifest(directory, self._digest_of(version), (MLMODEL_FILE,))
            return Contract(*read_mlmodel(directory))

    def split_rule(self, version: str) -> SplitRule | None:
        """The rule by which a version's holdout was split off, from two small files; None where it has none.

        Raises: as ``fetch``.
        """
        with tempfile.TemporaryDirectory() as folder:
            return self._fetch_rule(version, Path(folder), self._digest_of(version))

    def _digest_of(self, version: str) -> str:
        digest = self.version(version).tags.get(TAG_MANIFEST_SHA256)
        if not digest:
            raise OtherSchemaError(
                f"version {version} was not registered by this pipeline (it has no {TAG_MANIFEST_SHA256} tag)"
            )
        return str(digest)

    def _fetch_rule(self, version: str, directory: Path, digest: str) -> SplitRule | None:
        """Download the manifest and the rule that it lists into the directory."""
        self._download(version, directory, MANIFEST_FILE)
        if SPLIT_FILE not in verify_manifest(directory, digest, ()):
            return None
        self._download(version, directory, SPLIT_FILE)
        verify_manifest(directory, digest, (SPLIT_FILE,))
        try:
            return SplitRule.model_validate_json((directory / SPLIT_FILE).read_bytes())
        except ValidationError as error:
            raise InvalidModelError(f"version {version} has a {SPLIT_FILE} that is not a split rule") from error

    def _download(self, version: str, directory: Path, *names: str) -> None:
        uri = self._client.get_model_version_download_uri(self._name, version)
        # Listed first, to distinguish a missing file from a failing server.
        listed = {Path(item.path).name for item in mlflow.artifacts.list_artifacts(artifact_uri=uri)}
        for name in names:
            if name not in listed:
                raise InvalidModelError(f"version {version} lacks {name}")
            mlflow.artifacts.download_artifacts(artifact_uri=f"{uri}/{name}", dst_path=str(directory))
