"""What the set-up and docker-compose.yml must agree on."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from src.core.inference_settings import InferenceSettings
from src.core.quality_settings import QualitySettings
from src.services.local.processes import REPOSITORY
from src.services.stack import variables
from src.services.stack.compose_config import Port

TEXT = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
SCALE_TEXT = (REPOSITORY / "docker-compose.scale.yml").read_text(encoding="utf-8")
TLS_TEXT = (REPOSITORY / "docker-compose.tls.yml").read_text(encoding="utf-8")


def test_compose_file_insists_on_the_variables_that_the_script_writes() -> None:
    asked = dict(re.findall(r"\$\{(\w+):\?([^}]*)\}", TEXT + TLS_TEXT))
    assert set(asked) == set(variables.REQUIRED)
    assert all("python3 setup_zenml_api_key.py" in advice for advice in asked.values())


def test_compose_file_publishes_each_service_by_the_variable_that_the_script_names() -> None:
    published = re.findall(r'"(?:127\.0\.0\.1|\$\{BIND_ADDRESS:-127\.0\.0\.1\}):\$\{(\w+):-\d+\}:\d+"', TEXT)
    services = ["zenml", "mlflow", "inference", "prometheus", "grafana"]
    assert published == [Port(service, "", 1).variable for service in services]
    assert len(re.findall(r"(?m)^ +ports:", TEXT)) == len(published)


def test_tls_overlay_publishes_each_port_by_the_variable_that_the_script_names() -> None:
    published = re.findall(r'"\$\{TLS_BIND_ADDRESS:-127\.0\.0\.1\}:\$\{(\w+):-(\d+)\}:(\d+)"', TLS_TEXT)
    assert [port for _, port, _ in published] == [target for *_, target in published]
    assert [name for name, *_ in published] == [
        Port("tls-proxy", "", 1, int(target)).variable for *_, target in published
    ]
    bound = re.search(r"^ +bind (\S+) ", (REPOSITORY / "config/tls/haproxy.cfg").read_text(), re.MULTILINE)
    assert bound is not None
    assert bound[1].split(",") == [f":{target}" for *_, target in published]


def test_tls_overlay_runs_the_image_of_the_gateway() -> None:
    images = [yaml.safe_load(text.replace("!reset", ""))["services"] for text in (SCALE_TEXT, TLS_TEXT)]
    assert images[0]["gateway"]["image"] == images[1]["tls-proxy"]["image"]


def test_env_example_describes_every_variable_that_the_script_writes() -> None:
    stack = (REPOSITORY / ".env.example").read_text(encoding="utf-8").partition("--- the Compose stack ---")[2]
    described = re.findall(r"(?m)^#   ([A-Z_]+)", stack)
    assert described == [*variables.REQUIRED, *variables.PROFILES]


def test_env_example_states_every_other_variable_of_the_compose_file_with_its_default() -> None:
    settings, _, stack = (
        (REPOSITORY / ".env.example").read_text(encoding="utf-8").partition("--- the Compose stack ---")
    )
    documented = dict(re.findall(r"(?m)^# ([A-Z_]+)=(.*)$", stack))
    elsewhere = set(re.findall(r"(?m)^# ([A-Z_]+)=", settings)) | {"COMPOSE_PROJECT_NAME"}
    given = re.findall(r"\$\{(\w+):-([^}]*)\}", TEXT + SCALE_TEXT + TLS_TEXT)
    defaults = {name: value for name, value in given if name not in elsewhere}
    assert documented == defaults
    passed_on = set(re.findall(r"(?m)^ +([A-Z_0-9]+):$", TEXT))
    assert passed_on - elsewhere == set(re.findall(r"AWS_[A-Z_]+", stack))


@pytest.mark.parametrize("service", ["preprocess", "train-model"])
def test_whatever_reads_the_data_set_has_its_folder_its_addresses_and_the_packages_for_them(service: str) -> None:
    found = yaml.safe_load(TEXT)["services"][service]
    assert "./data-file/incoming:/app/data-file/incoming:ro" in found["volumes"]
    assert {"DATASET_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"} <= set(
        found["environment"]
    )
    assert found["build"]["args"]["EXTRA_GROUPS"] == "${TRAIN_EXTRA_GROUPS:-}"
    dockerfile = (REPOSITORY / found["build"]["dockerfile"]).read_text(encoding="utf-8")
    assert re.search(r"install-packages\.sh \w+ \$EXTRA_GROUPS$", dockerfile, re.MULTILINE)


@pytest.mark.parametrize("service", ["preprocess", "train-model"])
def test_large_files_on_their_way_lie_on_a_disk_and_not_in_memory(service: str) -> None:
    compose = yaml.safe_load(TEXT)
    found = compose["services"][service]
    assert "scratch:/app/scratch" in found["volumes"]
    assert "scratch" in compose["volumes"]
    dockerfile = (REPOSITORY / found["build"]["dockerfile"]).read_text(encoding="utf-8")
    # Of the image's user, whom a new volume then belongs to.
    assert re.search(r"install --directory --owner loop .* /app/scratch( |$)", dockerfile, re.MULTILINE)
    assert "TMPDIR=/app/scratch" in dockerfile.split()


@pytest.mark.parametrize("name", ["preprocess", "train"])
def test_entry_point_deletes_what_killed_runs_have_left_and_runs_the_command(name: str, tmp_path: Path) -> None:
    dockerfile = (REPOSITORY / "dockerfiles" / f"Dockerfile.{name}").read_text(encoding="utf-8")
    (found,) = re.findall(r"(?m)^ENTRYPOINT (\[.*\])$", dockerfile)
    now = time.time()
    for left, age in (("old/model/weights", 25), ("young/model/weights", 23)):
        (tmp_path / left).parent.mkdir(parents=True)
        (tmp_path / left).touch()
        for path in (tmp_path / left, *(tmp_path / left).parents[:2]):
            os.utime(path, (now, now - age * 3600))
    run = [*json.loads(found), "sh", "-c", 'printf "%s|" "$@"; exit 3', "-", "two words", "--if-needed"]
    result = subprocess.run(run, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (3, b"two words|--if-needed|", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["young"]
    assert (tmp_path / "young/model/weights").is_file()


def test_only_what_reads_the_data_set_knows_the_database() -> None:
    services = yaml.safe_load(TEXT)["services"]
    knowing = [name for name, service in services.items() if "DATASET_URL" in (service.get("environment") or {})]
    # labels.query is a query of the same database
    assert knowing == ["preprocess", "train-model", "quality"]


def test_quality_service_has_every_setting_of_its_own_and_those_of_inference_that_it_must_share() -> None:
    services = yaml.safe_load(TEXT)["services"]
    given, shared = services["quality"]["environment"], services["inference"]["environment"]
    for name in ("PREDICTION_LOG", "PREDICTION_LOG_HASH", "PREDICTION_LOG_KEY", "MODEL_NAME", "LOG_LEVEL"):
        assert given[name] == shared[name], name
    own = set(QualitySettings.model_fields) - set(InferenceSettings.model_fields) - {"pipeline_config", "quality_port"}
    assert {name.upper() for name in own} <= set(given)


def test_whatever_reads_the_prediction_log_knows_its_bucket_and_how_to_reach_it() -> None:
    services = yaml.safe_load(TEXT)["services"]
    knowing = [name for name, found in services.items() if "PREDICTION_LOG_STORE" in (found.get("environment") or {})]
    assert knowing == ["preprocess", "train-model", "quality"]
    for name in knowing:
        given = services[name]["environment"]
        for variable in re.findall(r"AWS_[A-Z_]+[A-Z]", (REPOSITORY / ".env.example").read_text(encoding="utf-8")):
            assert given[variable] is None
        assert given["PREDICTION_LOG_STORE"] is None
        assert "sources" in services[name]["networks"]  # a way out
    assert not (yaml.safe_load(TEXT)["networks"]["sources"] or {}).get("internal")


def test_quality_service_runs_in_the_image_of_the_training() -> None:
    services = yaml.safe_load(TEXT)["services"]
    assert services["quality"]["build"] == services["train-model"]["build"]
    dockerfile = (REPOSITORY / services["quality"]["build"]["dockerfile"]).read_text(encoding="utf-8")
    copied = set(re.findall(r"^COPY (src/\S+) ", dockerfile, re.MULTILINE))
    assert {"src/core", "src/training", "src/pipeline", "src/quality", "src/services/quality"} <= copied
    module = [*services["quality"]["entrypoint"], *services["quality"]["command"]]
    assert module == ["python", "-m", "src.services.quality.run_quality"]


@pytest.mark.parametrize("service", ["preprocess", "train-model"])
def test_whatever_learns_from_labelled_rows_knows_the_log_and_who_can_send_labels_and_no_key(service: str) -> None:
    services = yaml.safe_load(TEXT)["services"]
    given = services[service]["environment"]
    for name in ("PREDICTION_LOG_OMIT", "PREDICTION_LOG_HASH", "MODEL_NAME"):
        assert given[name] is services["inference"]["environment"][name] is None
    (port,) = services["inference"]["ports"]
    assert port.startswith(f"{given['INFERENCE_HOST']}:")
    assert given["WRITE_KEY_IS_SET"] == "${WRITE_API_KEY:+true}"
    assert not {"WRITE_API_KEY", "PREDICTION_LOG_KEY"} & set(given)
    dockerfile = (REPOSITORY / services[service]["build"]["dockerfile"]).read_text(encoding="utf-8")
    assert "COPY src/quality src/quality" in dockerfile.splitlines()


def test_gateway_takes_the_port_of_the_one_container() -> None:
    port = r'ports: \["(\S+INFERENCE_PORT\S+)"\]'
    assert re.findall(port, SCALE_TEXT) == re.findall(port, TEXT) != []
