import httpx
import pytest

pytestmark = pytest.mark.integration


def test_mlflow_server_proxies_artifacts(mlflow_url: str) -> None:
    experiments = httpx.get(f"{mlflow_url}/api/2.0/mlflow/experiments/search", params={"max_results": 1}).json()
    assert experiments["experiments"][0]["artifact_location"].startswith("mlflow-artifacts:")
