from pathlib import Path

from pydantic import AnyHttpUrl, SecretStr

from src.core.training_settings import TrainSettings
from src.training.zenml_connection import describe_store, prepare_environment


def local(folder: Path) -> TrainSettings:
    return TrainSettings(_env_file=None, data_dir=folder)


def remote(folder: Path) -> TrainSettings:
    return local(folder).model_copy(
        update={
            "zenml_store_url": AnyHttpUrl("http://user:word@zenml:8080"),
            "zenml_store_api_key": SecretStr("ZENKEY_secret"),
        }
    )


def test_environment_of_the_local_store_has_no_server_and_an_absolute_folder(tmp_path: Path) -> None:
    environment = {"ZENML_STORE_URL": "", "ZENML_STORE_API_KEY": "", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "9"}
    prepare_environment(local(tmp_path), environment)
    assert environment["ZENML_STORE_URL"] == f"sqlite:///{tmp_path}/local/zenml/local_stores/default_zen_store/zenml.db"
    assert "ZENML_STORE_API_KEY" not in environment
    assert environment["ZENML_CONFIG_PATH"] == str(tmp_path / "local/zenml")
    assert environment["ZENML_ANALYTICS_OPT_IN"] == "false"
    assert environment["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "9"


def test_environment_of_a_server_has_its_url_without_a_slash_and_its_key(tmp_path: Path) -> None:
    environment: dict[str, str] = {}
    prepare_environment(remote(tmp_path), environment)
    assert environment["ZENML_STORE_URL"] == "http://user:word@zenml:8080"
    assert environment["ZENML_STORE_API_KEY"] == "ZENKEY_secret"
    assert environment["DISABLE_CREDENTIALS_DISK_CACHING"] == "true"


def test_login_of_the_mlflow_url_goes_to_mlflow_s_own_variables_and_nowhere_else(tmp_path: Path) -> None:
    url = AnyHttpUrl("http://me:p%40ss@mlflow:5000/")
    environment: dict[str, str] = {}
    prepare_environment(local(tmp_path).model_copy(update={"mlflow_tracking_uri": url}), environment)
    login = environment.pop("MLFLOW_TRACKING_USERNAME"), environment.pop("MLFLOW_TRACKING_PASSWORD")
    assert login == ("me", "p@ss")
    assert environment["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert [value for value in environment.values() if "p@ss" in value or "p%40ss" in value] == []


def test_description_names_the_store_and_no_secret(tmp_path: Path) -> None:
    assert describe_store(local(tmp_path)) == f"local SQLite in {tmp_path}/local/zenml"
    assert describe_store(remote(tmp_path)) == "server http://zenml:8080"
