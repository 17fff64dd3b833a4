"""Settings: from the environment, frozen, and never shown in an error."""

import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from src.core.compute_settings import BatchSettings
from src.core.errors import ConfigError
from src.core.inference_settings import InferenceSettings
from src.core.learning_settings import LearningSettings
from src.core.local_settings import LocalSettings
from src.core.monitor_settings import MonitorSettings
from src.core.prediction_log_settings import PredictionLogSettings
from src.core.quality_settings import QualitySettings
from src.core.settings import CommonSettings, load_settings
from src.core.training_settings import TrainSettings
from src.services.local.processes import REPOSITORY

OF_SERVICES = [InferenceSettings, MonitorSettings, QualitySettings, LocalSettings]
CLASSES = [CommonSettings, TrainSettings, BatchSettings, LearningSettings, *OF_SERVICES]
FIELDS = {name.upper() for settings_class in CLASSES for name in settings_class.model_fields}


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hides the developer's variables and .env from these tests."""
    monkeypatch.chdir(tmp_path)
    for name in set(os.environ):
        if name.upper() in FIELDS:
            monkeypatch.delenv(name)
    monkeypatch.delenv("ENV_FILE")


@pytest.mark.parametrize("settings_class", CLASSES)
def test_defaults_suffice_and_every_field_is_described(settings_class: type[CommonSettings]) -> None:
    load_settings(settings_class)
    assert [name for name, field in settings_class.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("settings_class", CLASSES)
def test_settings_are_frozen(settings_class: type[CommonSettings]) -> None:
    settings = load_settings(settings_class)
    with pytest.raises(ValidationError, match="frozen"):
        settings.model_name = "other"  # type: ignore[misc]


def test_environment_sets_fields_and_trims_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", "/data")
    monkeypatch.setenv("MONITOR_PORT", "9001")
    monkeypatch.setenv("MODEL_NAME", "  wine  ")
    settings = load_settings(MonitorSettings)
    assert settings.monitor_port == 9001
    assert settings.dataset_file == Path("/data/wine_preprocessed.csv")
    assert settings.retrain_dir == Path("/data/retrain")
    assert settings.local_dir == Path("/data/local")
    assert settings.quality_dir == Path("/data/quality")
    assert settings.labels_dir == Path("/data/labels")


def test_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZENML_STORE_URL", "")
    monkeypatch.setenv("MONITOR_PORT", "")
    assert load_settings(TrainSettings).zenml_store_url is None
    assert load_settings(MonitorSettings).monitor_port == 8001


def test_env_file_of_the_working_folder_is_read_after_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("MONITOR_PORT=9001\nINFERENCE_PORT=9002\nSOMETHING_ELSE=1\n")
    monkeypatch.setenv("INFERENCE_PORT", "9003")
    settings = load_settings(LocalSettings)
    assert (settings.monitor_port, settings.inference_port) == (9001, 9003)


def test_env_file_can_be_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("MONITOR_PORT=9001\n")
    (tmp_path / "other").write_text("MONITOR_PORT=9002\n")
    monkeypatch.setenv("ENV_FILE", "other")
    assert load_settings(MonitorSettings).monitor_port == 9002
    monkeypatch.setenv("ENV_FILE", os.devnull)
    assert load_settings(MonitorSettings).monitor_port == 8001


def test_env_file_that_is_named_and_missing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENV_FILE", "nofile.env")
    with pytest.raises(ConfigError, match=r"ENV_FILE names nofile\.env, which does not exist"):
        load_settings(MonitorSettings)


def test_key_that_is_too_short_is_reported_in_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRITE_API_KEY", "short")
    with pytest.raises(ConfigError, match=r"WRITE_API_KEY: must have at least 16 characters"):
        load_settings(InferenceSettings)


@pytest.mark.parametrize(
    ("settings_class", "name", "service"),
    [
        (InferenceSettings, "INFERENCE_PORT", "inference"),
        (MonitorSettings, "MONITOR_PORT", "monitor"),
        (QualitySettings, "QUALITY_PORT", "quality"),
        (LocalSettings, "MLFLOW_PORT", "mlflow"),
    ],
)
def test_variable_that_kubernetes_sets_for_a_service_is_explained(
    monkeypatch: pytest.MonkeyPatch, settings_class: type[BaseSettings], name: str, service: str
) -> None:
    monkeypatch.setenv(name, "tcp://10.96.0.7:8000")
    with pytest.raises(ConfigError) as caught:
        load_settings(settings_class)
    assert str(caught.value) == (
        f"wrong environment: {name}: Kubernetes sets this variable to an address in the pods beside a Service named "
        f"{service}; set enableServiceLinks: false in the pod, or give the Service another name (see .env.example)"
    )


def test_address_in_another_variable_than_a_port_is_not_blamed_on_kubernetes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "tcp://10.96.0.7:5000")
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI: URL scheme should be"):
        load_settings(MonitorSettings)


def test_env_file_that_is_not_text_is_reported_by_its_name(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff\xfe=\xfa")
    with pytest.raises(ConfigError, match=r"\.env cannot be read .*fix it or name another one in ENV_FILE"):
        load_settings(MonitorSettings)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_env_file_without_permission_is_reported_by_its_name(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MONITOR_PORT=9001\n")
    (tmp_path / ".env").chmod(0)
    with pytest.raises(ConfigError, match=r"\.env cannot be read"):
        load_settings(MonitorSettings)


def test_folders_are_configurable_or_below_the_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(InferenceSettings).cache_dir == Path("data-file/local/model-cache")
    assert load_settings(TrainSettings).zenml_dir == Path("data-file/local/zenml")
    monkeypatch.setenv("MODEL_CACHE_DIR", "/cache")
    monkeypatch.setenv("ZENML_CONFIG_PATH", "/zenml")
    assert load_settings(InferenceSettings).cache_dir == Path("/cache")
    assert load_settings(TrainSettings).zenml_dir == Path("/zenml")


def test_mlflow_url_has_no_trailing_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000/")
    assert load_settings(CommonSettings).mlflow_url == "http://mlflow:5000"


def test_links_lead_to_the_public_mlflow_or_else_to_the_tracking_server_and_never_show_a_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:s3cret@mlflow:5000/base/")
    for settings_class in (TrainSettings, InferenceSettings):
        assert load_settings(settings_class).mlflow_link == "http://mlflow:5000/base"
    monkeypatch.setenv("MLFLOW_PUBLIC_URL", "https://mlflow.example.com/")
    assert load_settings(InferenceSettings).mlflow_link == "https://mlflow.example.com"


def test_value_of_invalid_format_is_reported_with_the_variables_description(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", "https://example.com")
    says = "ALLOWED_HOSTS: has an invalid format (names by which clients reach the service"
    with pytest.raises(ConfigError, match=re.escape(says)):
        load_settings(InferenceSettings)


def test_model_name_may_be_any_that_mlflow_allows_and_another_is_refused_with_the_form(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MODEL_NAME", " credit risk ")
    assert load_settings(CommonSettings).dataset_file.name == "credit risk_preprocessed.csv"
    monkeypatch.setenv("MODEL_NAME", "credit:risk")
    with pytest.raises(ConfigError, match="MODEL_NAME: a registered model's name must consist of"):
        load_settings(CommonSettings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOG_FORMAT", "s3cret"),
        ("LOG_LEVEL", "s3cret"),
        ("MLFLOW_TRACKING_URI", "s3cret"),
        ("MLFLOW_TRACKING_URI", "ftp://user:s3cret@host"),
        ("MODEL_NAME", "s3cret/../x"),
        ("INFERENCE_PORT", "s3cret"),
        ("INFERENCE_PORT", "0"),
        ("INFERENCE_PORT", "65536"),
        ("MODEL_POLL_SECONDS", "0"),
        ("MODEL_POLL_SECONDS", "nan"),
        ("MODEL_POLL_SECONDS", "inf"),
        ("MAX_BODY_BYTES", "1.5"),
        ("MONITOR_POLL_SECONDS", "-1"),
        ("PREDICTION_LOG", "s3cret"),
        ("PREDICTION_LOG_RATE", "0"),
        ("PREDICTION_LOG_RATE", "inf"),
        ("PREDICTION_LOG_KEY", "s3cret"),
        ("RETRAIN_MAX_ATTEMPTS", "0"),
        ("RETRAIN_QUEUE", "s3cret"),
        ("QUALITY_SECONDS", "0"),
        ("QUALITY_SECONDS", "301"),
        ("QUALITY_PORT", "0"),
        ("PREDICTION_LOG_DAYS", "0"),
        ("PREDICTION_LOG_MAX_BYTES", "0"),
        ("FEEDBACK_PATIENCE_SECONDS", "-1"),
        ("PREDICTION_LOG_STORE", "s3cret"),
        ("PREDICTION_LOG_STORE", "s3://"),
        ("PREDICTION_LOG_STORE", "s3://s3cret//x"),
        ("PREDICTION_LOG_STORE", "s3://s3cret/x?y"),
        ("PREDICTION_LOG_STORE", "s3://S3cret"),
        ("PREDICTION_LOG_STORE", "s3://me:s3cret@bucket/x"),
        ("PREDICTION_LOG_STORE", "https://s3cret/x"),
    ],
)
def test_wrong_value_is_reported_by_variable_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load_settings(LocalSettings)
    message = str(caught.value)
    assert message.startswith(f"wrong environment: {name}: ")
    assert "s3cret" not in message
    assert ".env.example" in message
    assert "\n" not in message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_every_wrong_variable_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONITOR_PORT", "x")
    monkeypatch.setenv("LOG_LEVEL", "x")
    with pytest.raises(ConfigError, match=r"LOG_LEVEL: .*; MONITOR_PORT: "):
        load_settings(MonitorSettings)


def test_zenml_server_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZENML_STORE_URL", "http://zenml")
    with pytest.raises(ConfigError, match="ZENML_STORE_URL needs ZENML_STORE_API_KEY; set both, or neither"):
        load_settings(TrainSettings)


@pytest.mark.parametrize("url", ["", "s3cret", "mysql://ann:s3cret@host/queue", "sqlite:///s3cret"])
def test_queue_in_a_database_needs_a_url_of_mysql(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("RETRAIN_DATABASE_URL", url)
    assert load_settings(CommonSettings).retrain_queue == "file"
    monkeypatch.setenv("RETRAIN_QUEUE", "database")
    with pytest.raises(ConfigError, match="RETRAIN_QUEUE=database needs RETRAIN_DATABASE_URL, which begins") as caught:
        load_settings(CommonSettings)
    assert "s3cret" not in str(caught.value)


def test_password_of_the_queue_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRAIN_QUEUE", "database")
    monkeypatch.setenv("RETRAIN_DATABASE_URL", "mysql+pymysql://ann:s3cret@host/queue")
    assert "s3cret" not in repr(load_settings(CommonSettings))


def test_zenml_key_alone_means_the_local_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZENML_STORE_API_KEY", "s3cret")  # as .env has it once the Compose stack is set up
    assert load_settings(TrainSettings).zenml_store_url is None


@pytest.mark.parametrize(
    "value", ["s3cret", "http://user:s3cret@host:1", "tls://user:s3cret@host:8786", "tls://s3cret"]
)
def test_address_of_the_scheduler_has_a_scheme_a_host_and_a_port(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("COMPUTE_ADDRESS", value)
    with pytest.raises(ConfigError, match=r"COMPUTE_ADDRESS: has an invalid format .*tls://host:port") as caught:
        load_settings(BatchSettings)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("absent", ["COMPUTE_TLS_CA_FILE", "COMPUTE_TLS_CERT_FILE", "COMPUTE_TLS_KEY_FILE"])
def test_encrypted_scheduler_needs_every_file(monkeypatch: pytest.MonkeyPatch, absent: str) -> None:
    monkeypatch.setenv("COMPUTE_ADDRESS", "tls://host:8786")
    for name in {"COMPUTE_TLS_CA_FILE", "COMPUTE_TLS_CERT_FILE", "COMPUTE_TLS_KEY_FILE"} - {absent}:
        monkeypatch.setenv(name, "/file.pem")
    with pytest.raises(ConfigError, match="a COMPUTE_ADDRESS of tls:// needs COMPUTE_TLS_CA_FILE, "):
        load_settings(BatchSettings)
    monkeypatch.setenv(absent, "/file.pem")
    assert load_settings(BatchSettings).is_encrypted
    monkeypatch.setenv("COMPUTE_ADDRESS", "tcp://host:8786")
    assert not load_settings(BatchSettings).is_encrypted


def test_columns_of_the_prediction_log_are_names_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTION_LOG_OMIT", " name, date of birth ,,")
    settings = load_settings(PredictionLogSettings)
    assert settings.omitted_columns == {"name", "date of birth"}
    assert settings.hashed_columns == set()
    assert settings.log_key == ""


def test_hashed_columns_need_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTION_LOG_HASH", "email,name")
    with pytest.raises(ConfigError, match="PREDICTION_LOG_HASH needs PREDICTION_LOG_KEY; set both, or neither"):
        load_settings(PredictionLogSettings)
    monkeypatch.setenv("PREDICTION_LOG_KEY", "0123456789abcdef")
    settings = load_settings(PredictionLogSettings)
    assert settings.hashed_columns == {"email", "name"}
    assert settings.log_key == "0123456789abcdef"
    assert "0123456789abcdef" not in repr(settings)


@pytest.mark.parametrize("name", ["../x", "a/b", "-a", "a" * 129])
def test_train_container_is_a_containers_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("TRAIN_CONTAINER", name)
    with pytest.raises(ConfigError, match="TRAIN_CONTAINER"):
        load_settings(MonitorSettings)


@pytest.mark.parametrize("name", ["../x", "a/b", "-a", "a-", "Train", "a.b", "a" * 53])
def test_train_job_is_a_cron_jobs_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("TRAIN_JOB", name)
    with pytest.raises(ConfigError, match="TRAIN_JOB"):
        load_settings(MonitorSettings)


def test_longest_and_shortest_name_of_a_cron_job_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a" * 52, "a"):  # a CronJob's name has at most 52 characters
        monkeypatch.setenv("TRAIN_JOB", name)
        assert load_settings(MonitorSettings).train_job == name


def test_container_and_job_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAIN_CONTAINER", "a")
    monkeypatch.setenv("TRAIN_JOB", "a")
    with pytest.raises(ConfigError, match="TRAIN_CONTAINER and TRAIN_JOB exclude each other"):
        load_settings(MonitorSettings)


@pytest.mark.parametrize(
    ("profiles", "own", "link"),
    [
        ("monitoring", "", "http://localhost:3001"),
        ("exporters,monitoring", "", "http://localhost:3001"),
        ("metrics", "", None),
        ("", "", None),
        ("metrics", "http://graf.example/", "http://graf.example"),
        ("monitoring", "http://graf.example/", "http://graf.example"),
    ],
)
def test_grafana_of_the_stack_is_linked_only_where_it_runs(
    monkeypatch: pytest.MonkeyPatch, profiles: str, own: str, link: str | None
) -> None:
    monkeypatch.setenv("STACK_GRAFANA_URL", "http://localhost:3001")
    monkeypatch.setenv("STACK_PROFILES", profiles)
    monkeypatch.setenv("GRAFANA_PUBLIC_URL", own)
    assert load_settings(InferenceSettings).grafana_link == link


def test_secret_is_not_in_the_settings_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZENML_STORE_URL", "http://zenml")
    monkeypatch.setenv("ZENML_STORE_API_KEY", "s3cret")
    settings = load_settings(TrainSettings)
    assert "s3cret" not in f"{settings} {settings!r} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    "address", ["s3://my-bucket", "s3://my.bucket-1/", "s3://bucket/a/b_c.d", "s3://bucket/a=1/b/"]
)
def test_store_of_the_log_is_a_bucket_with_or_without_a_prefix(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("PREDICTION_LOG_STORE", f" {address} ")
    assert load_settings(LearningSettings).prediction_log_store == address
    assert load_settings(LocalSettings).prediction_log_store == address


def test_env_example_documents_exactly_every_variable() -> None:
    # Variables that only docker-compose.yml reads are below; tests/unit/services/stack/test_compose_file.py has that.
    text = (REPOSITORY / ".env.example").read_text(encoding="utf-8").partition("--- the Compose stack ---")[0]
    documented = re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)=", text, flags=re.MULTILINE)
    assert sorted(documented) == sorted(FIELDS)


def test_env_example_states_the_defaults() -> None:
    text = (REPOSITORY / ".env.example").read_text(encoding="utf-8")
    defaults = dict(load_settings(LocalSettings)) | dict(load_settings(BatchSettings))
    for name, value in re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)=(.*)$", text, flags=re.MULTILINE):
        default = defaults.get(name.lower())
        if isinstance(default, bool):
            assert value == str(default).lower(), name
        elif isinstance(default, int | float):
            assert float(value) == default, name


def test_columns_to_hide_may_be_absent_where_a_question_mark_says_so() -> None:
    settings = PredictionLogSettings(
        _env_file=None, prediction_log_omit="a, b ?,c?", prediction_log_hash="d?,e", prediction_log_key="k" * 16
    )
    assert settings.omitted_columns >= {"a", "b", "c", "c?"}
    assert settings.hashed_columns >= {"d", "e"}
    assert not settings.omitted_columns & {"", "d", "e"}
    assert settings.unknown_columns(["x"]) == ["a", "e"]
    assert settings.unknown_columns(["a", "x"]) == ["e"]
    assert settings.unknown_columns(["e", "a", "c"]) == []
