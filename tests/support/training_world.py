"""A place in which trainings follow one another."""

from pathlib import Path

from mlflow.tracking import MlflowClient

from src.core.retrain_signal import RetrainSpool


class TrainingWorld:
    """One data folder, one ZenML store and one registered model.

    Args:
        folder: of the data and the store.
        mlflow_url: a real MLflow server, shared with other tests.
        name: of the registered model and the experiment.
    """

    def __init__(self, folder: Path, mlflow_url: str, name: str) -> None:
        self.folder, self.mlflow_url, self.name = folder, mlflow_url, name
        self.environment = {"MODEL_NAME": name, "MLFLOW_EXPERIMENT": name}
        self.spool = RetrainSpool(folder / "retrain").create()
        self.client = MlflowClient(mlflow_url)

    def aliases(self) -> dict[str, str]:
        """The version of each alias."""
        aliases = self.client.get_registered_model(self.name).aliases
        return {alias: str(version) for alias, version in aliases.items()}
