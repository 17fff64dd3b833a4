"""Deletes versions from MLflow and runs from ZenML, with everything they have stored."""

import logging
from collections.abc import Container, Sequence
from uuid import UUID

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from zenml.client import Client
from zenml.utils.pagination_utils import depaginate

from src.core.calibration import calibration_file
from src.core.errors import LoopError
from src.core.model_registry import TAG_ZENML_RUN_ID, says_missing
from src.core.training_settings import TrainSettings
from src.training.abandoned_runs import runs_of_model
from src.training.connections import delete_artifacts, shown
from src.training.registry import ModelRegistry
from src.training.train_once import PIPELINE

# A version's source, if its files belong to a logged model.
LOGGED_MODEL = "models:/m-"

logger = logging.getLogger(__name__)


class Pruner:
    """The versions of one registered model, and the runs that made them.

    Files are deleted before their records, so that an interrupted deletion is found and completed by the next one. An
    interruption just after a ZenML run is deleted can leave that run's artifacts listed in ZenML, without their files.

    Args:
        settings: name the servers and the model.

    Attributes:
        name: the registered model's name.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self._url = settings.mlflow_url
        self._calibrations = settings.calibration_dir
        self.name = settings.model_name
        # With an explicit URL: ZenML resets MLflow's default when its pipeline ends.
        self._client = MlflowClient(shown(settings.mlflow_url))
        self._registry = ModelRegistry(self._client, settings.model_name)

    def versions(self) -> list[ModelVersion]:
        """All versions, newest first."""
        return self._registry.versions()

    def aliases(self) -> dict[str, str]:
        """The version of each alias."""
        return self._registry.aliases()

    def runs_without(self, versions: Sequence[ModelVersion], gone: Container[str]) -> list[str]:
        """The ids of this model's ZenML runs to delete: those up to the newest deleted version that made no kept one.

        Args:
            versions: all of the model's versions.
            gone: the versions to delete; if empty, all runs are kept.
        """
        kept = [found for found in versions if str(found.version) not in gone]
        if len(kept) == len(versions):
            return []
        needed = {found.tags.get(TAG_ZENML_RUN_ID) for found in kept}
        newest_gone = max(int(found.version) for found in versions if str(found.version) in gone)
        made = {found.tags.get(TAG_ZENML_RUN_ID) for found in versions if int(found.version) <= newest_gone}
        runs = [str(run.id) for run in runs_of_model(Client(), PIPELINE, self.name)]
        # Newest first: start at the newest run whose version is not newer than the newest deleted one.
        first = next((index for index, run in enumerate(runs) if run in made), len(runs))
        return [run for run in runs[first:] if run not in needed]

    def delete_version(self, version: str) -> None:
        """Delete a version, its files, its calibration and the MLflow run that made it. A failure is logged."""
        try:
            versions = {str(found.version): found for found in self._registry.versions()}
            found = versions.pop(version)
            others = versions.values()
            source = found.source or ""
            if source.startswith(LOGGED_MODEL) and source not in {other.source for other in others}:
                self._delete_logged_model(source.removeprefix("models:/"))
            if found.run_id and found.run_id not in {other.run_id for other in others}:
                self._delete_mlflow_run(found.run_id)
            calibration_file(self._calibrations, self.name, version).unlink(missing_ok=True)
            self._client.delete_model_version(self.name, version)
        except (MlflowException, LoopError, OSError) as error:
            logger.warning("version %s was not deleted completely: %s", version, error)

    def delete_run(self, run_id: str) -> None:
        """Delete a ZenML run and its artifacts. A failure is logged."""
        client = Client()
        try:
            artifacts = depaginate(client.list_artifact_versions, pipeline_run=run_id)
            for artifact in artifacts:
                self._delete_files(client, artifact.id)
            client.delete_pipeline_run(UUID(run_id))
            # After the run: ZenML refuses to delete artifacts that a run uses.
            for artifact in artifacts:
                client.delete_artifact_version(artifact.id)
        except Exception as error:  # ZenML raises built-in errors of every kind
            logger.warning("ZenML's run %s was not deleted completely: %s", run_id, error, exc_info=True)

    @staticmethod
    def _delete_files(client: Client, artifact_id: UUID) -> None:
        try:
            client.delete_artifact_version(artifact_id, delete_metadata=False, delete_from_artifact_store=True)
        except FileNotFoundError:
            logger.debug("the files of ZenML's artifact %s are gone already", artifact_id)

    def _delete_logged_model(self, model_id: str) -> None:
        try:
            location = self._client.get_logged_model(model_id).artifact_location
        except MlflowException as error:
            if says_missing(error.error_code, error):
                return
            raise
        self._delete_artifacts(location)
        self._client.delete_logged_model(model_id)

    def _delete_mlflow_run(self, run_id: str) -> None:
        try:
            location = self._client.get_run(run_id).info.artifact_uri
        except MlflowException as error:
            if says_missing(error.error_code, error):
                return
            raise
        self._delete_artifacts(location)
        self._client.delete_run(run_id)

    def _delete_artifacts(self, location: str) -> None:
        if not delete_artifacts(self._url, location):
            logger.warning("the MLflow server does not store the files at %s; delete them with mlflow gc", location)
