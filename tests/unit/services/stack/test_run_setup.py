import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.services.stack import dotenv_text, run_setup
from src.services.stack.errors import StackError
from src.services.stack.run_setup import REPOSITORY, Setup
from tests.support.running import free_port
from tests.unit.services.stack.fakes import REQUIRED, FakeDocker, FakeZenml, compose_config, serving

pytestmark = pytest.mark.slow

VALUES = {name: f"a-{name.lower().replace('_', '-')}".ljust(16, "-") for name in REQUIRED[:-1]}  # 16 is the shortest
KNOWN = "COMPOSE_PROFILES=\n" + "".join(f"{name}={value}\n" for name, value in VALUES.items())


class Checkout:
    """A folder with a ``.env``, the fakes around it, and what the set-up has said."""

    def __init__(self, folder: Path, docker: FakeDocker, zenml: FakeZenml) -> None:
        self.docker, self.zenml = docker, zenml
        self.folder = folder / "checkout"
        self.folder.mkdir()
        self.env = self.folder / ".env"
        self.said: list[str] = []
        self.pauses: list[float] = []

    def set_up(self, *, keep_key: bool = False, **environment: str) -> None:
        setup = Setup(self.folder, {**self.docker.environment, **environment}, self._say, self.pauses.append)
        setup.run(keep_key=keep_key)

    def _say(self, line: str) -> None:
        self.said.append(line)
        if not self.zenml.password and line.startswith("==> starting"):  # what .env says at its first start counts
            self.zenml.password = self.values()["ZENML_ADMIN_PASSWORD"]

    def values(self) -> dict[str, str]:
        return dotenv_text.values(self.env.read_text())

    def refused(self, **environment: str) -> str:
        with pytest.raises(StackError) as caught:
            self.set_up(**environment)
        assert "\n" not in str(caught.value)
        self.said.append(str(caught.value))
        return str(caught.value)


@pytest.fixture
def checkout(tmp_path: Path, docker: FakeDocker, zenml: FakeZenml) -> Iterator[Checkout]:
    """A checkout in which, whatever happens, no secret is said or passed on a command line."""
    zenml.password = ""
    made = Checkout(tmp_path, docker, zenml)
    yield made
    values = made.values() if made.env.is_file() else {}
    secrets = [values[name] for name in REQUIRED if values.get(name)]
    shown = "\n".join(made.said + docker.said())
    assert [secret for secret in secrets if secret in shown] == []
    assert "ZENKEY_" not in shown


def test_setup_from_nothing_ends_with_a_key_that_works(checkout: Checkout) -> None:
    checkout.set_up()
    values = checkout.values()
    assert set(values) == {*REQUIRED, "COMPOSE_PROFILES"}
    assert values["ZENML_STORE_API_KEY"] == "ZENKEY_generation/1+=="
    assert checkout.env.stat().st_mode & 0o777 == 0o600
    assert checkout.said == [
        "==> found Docker with API 1.51, Compose 2.40.3",
        f"==> .env (only you can read it: mode 0600): added {', '.join(REQUIRED[:-1])}, COMPOSE_PROFILES",
        "==> starting ZenML and its MySQL (a first start fetches their images and takes minutes)",
        "    Container loop-zenml-1  Healthy",
        f"==> ZenML 0.98.0 answers at http://127.0.0.1:{checkout.zenml.port}",
        "==> logged in as admin",
        "==> service account training-service: created",
        "==> its API key training: created",
        "==> the key works; .env has it as ZENML_STORE_API_KEY",
        "next: docker compose up -d --wait",
    ]


def test_misspelt_variable_in_env_is_a_warning(checkout: Checkout) -> None:
    shutil.copy(REPOSITORY / ".env.example", checkout.folder)
    checkout.env.write_text("GRAFANA_PROT=3001\nEDITOR=vi\n")
    checkout.set_up()
    assert [line for line in checkout.said if line.startswith("warning")] == [
        "warning: GRAFANA_PROT in .env is not read by any process; did you mean GRAFANA_PORT?"
    ]


def test_setup_again_replaces_the_key_alone(checkout: Checkout) -> None:
    checkout.env.write_text("# mine\nMODEL_NAME=wine # best\n")
    checkout.set_up()
    before = checkout.env.read_text()
    assert before.startswith("# mine\nMODEL_NAME=wine # best\n")
    checkout.set_up()
    after = checkout.env.read_text()
    assert after == before.replace("ZENKEY_generation/1", "ZENKEY_generation/2")
    assert "==> .env (only you can read it: mode 0600): has every secret already" in checkout.said
    assert "==> service account training-service: found" in checkout.said
    assert "==> its API key training: replaced; the former one stays good for 60 minutes" in checkout.said


def test_setup_lets_containers_read_what_a_strict_umask_has_hidden(checkout: Checkout) -> None:
    script = checkout.folder / "config/mysql/databases.sh"
    script.parent.mkdir(parents=True)
    script.touch(mode=0o600)
    script.parent.chmod(0o700)
    checkout.set_up()
    assert (script.stat().st_mode & 0o777, script.parent.stat().st_mode & 0o777) == (0o644, 0o755)
    assert checkout.env.stat().st_mode & 0o777 == 0o600


def test_setup_keeps_profiles_that_the_user_has_emptied(checkout: Checkout) -> None:
    checkout.env.write_text(KNOWN)
    checkout.set_up()
    assert checkout.env.read_text() == KNOWN + "ZENML_STORE_API_KEY=ZENKEY_generation/1+==\n"
    assert all("COMPOSE_PROFILES" not in environment for _, environment in checkout.docker.calls())


def test_setup_gives_compose_a_stand_in_for_the_key_until_there_is_one(checkout: Checkout) -> None:
    checkout.env.write_text(KNOWN)
    checkout.set_up()
    checkout.set_up()
    started = [environment for arguments, environment in checkout.docker.calls() if "up" in arguments]
    assert [environment.get("ZENML_STORE_API_KEY") for environment in started] == ["not-set-yet", None]


def test_setup_keeps_a_key_that_zenml_accepts(checkout: Checkout) -> None:
    checkout.set_up()
    before = checkout.env.read_text()
    checkout.said.clear()
    checkout.set_up(keep_key=True)
    assert checkout.env.read_text() == before
    assert checkout.zenml.keys["training"]["generation"] == 1
    assert checkout.said[-1] == "==> ZenML accepts ZENML_STORE_API_KEY"


def test_setup_replaces_a_key_of_a_database_that_was_deleted(checkout: Checkout) -> None:
    checkout.set_up()
    checkout.zenml.accounts.clear()
    checkout.zenml.keys.clear()
    checkout.env.write_text(checkout.env.read_text().replace("generation/1", "of-before"))
    checkout.set_up(keep_key=True)
    assert checkout.values()["ZENML_STORE_API_KEY"] == "ZENKEY_generation/1+=="
    assert checkout.said[-1] == "==> the key works; .env has it as ZENML_STORE_API_KEY"


def test_setup_makes_the_first_key_although_it_may_keep_one(checkout: Checkout) -> None:
    checkout.set_up(keep_key=True)
    assert checkout.values()["ZENML_STORE_API_KEY"] == "ZENKEY_generation/1+=="
    assert "POST /login" in checkout.zenml.requests


def test_setup_checks_the_key_of_the_environment_first(checkout: Checkout) -> None:
    checkout.set_up()
    checkout.set_up(keep_key=True, ZENML_STORE_API_KEY="ZENKEY_wrong")
    assert checkout.zenml.keys["training"]["generation"] == 2
    assert "ZENML_STORE_API_KEY is set in the environment and wins over .env: unset it first" in checkout.said[-1]


def test_setup_takes_what_the_environment_sets_and_says_so(checkout: Checkout) -> None:
    checkout.zenml.password = "from-outside"  # noqa: S105 - the fake's
    checkout.set_up(ZENML_ADMIN_PASSWORD="from-outside", ZENML_STORE_API_KEY="former")  # noqa: S106
    assert (
        "==> set in the environment, which wins over .env: ZENML_ADMIN_PASSWORD, ZENML_STORE_API_KEY" in checkout.said
    )
    assert "ZENML_STORE_API_KEY is set in the environment and wins over .env: unset it first" in checkout.said[-2]
    assert "ZENML_ADMIN_PASSWORD" not in checkout.values()
    assert checkout.values()["ZENML_STORE_API_KEY"] == "ZENKEY_generation/1+=="


def test_setup_refuses_to_make_passwords_for_a_database_that_has_others(checkout: Checkout) -> None:
    checkout.docker.answers("volume ls", "other_mysql\nloop_mysql\n")
    message = checkout.refused()
    assert "the volume loop_mysql holds a database and .env lacks what it was made with (MYSQL_ROOT_PASSWORD" in message
    assert "docker compose -p loop down --volumes --remove-orphans" in message
    assert not checkout.env.exists()


def test_setup_makes_no_passwords_where_docker_cannot_list_the_volumes(checkout: Checkout) -> None:
    checkout.docker.answers("volume ls", errors="permission denied\n", code=1)
    assert checkout.refused() == "docker volume ls failed: permission denied"
    assert not checkout.env.exists()


def test_setup_goes_on_with_the_passwords_of_the_database(checkout: Checkout) -> None:
    checkout.docker.answers("volume ls", "loop_mysql\n")
    checkout.env.write_text(KNOWN.replace("GRAFANA_ADMIN_PASSWORD=", "# GRAFANA_ADMIN_PASSWORD="))
    checkout.set_up()
    assert len(checkout.values()["GRAFANA_ADMIN_PASSWORD"]) == 32


def test_setup_does_not_take_another_stacks_volume_for_its_own(checkout: Checkout) -> None:
    checkout.docker.answers("volume ls", "loop_mysql2\nmy_loop_mysql\n")
    checkout.set_up()


@pytest.mark.parametrize("name", [name for name in REQUIRED if name != "ZENML_STORE_API_KEY"])
def test_setup_lets_only_what_is_not_in_the_database_be_made_anew(checkout: Checkout, name: str) -> None:
    checkout.docker.answers("volume ls", "loop_mysql\n")
    checkout.env.write_text(re.sub(f"(?m)^{name}=.*$", f"{name}=", KNOWN))
    if name in {
        "ZENML_JWT_SECRET_KEY",
        "GRAFANA_ADMIN_PASSWORD",
        "ALERT_TOKEN",
        "PREDICTION_LOG_KEY",
        "MYSQL_EXPORTER_PASSWORD",
        "SIGN_IN_PASSWORD",
        "SIGN_IN_PROXY_KEY",
    }:
        checkout.set_up()
    else:
        assert f"what it was made with ({name})" in checkout.refused()


def test_setup_changes_nothing_while_compose_cannot_read_env(checkout: Checkout) -> None:
    checkout.env.write_text("X='open\n")
    checkout.docker.answers(
        "config", errors="failed to read /x/.env: line 1: unterminated quoted value 'open\n", code=1
    )
    assert "cannot read .env, line 1" in checkout.refused()
    assert checkout.env.read_text() == "X='open\n"


def test_setup_finds_out_first_that_env_cannot_be_written(checkout: Checkout) -> None:
    checkout.env.write_text(KNOWN)
    checkout.env.chmod(0o400)
    assert "it is read-only" in checkout.refused()
    assert checkout.zenml.requests == []


def test_setup_stops_at_a_taken_port_before_anything_starts(checkout: Checkout) -> None:
    checkout.docker.answers("compose ps", "")
    assert f"port {checkout.zenml.port} (zenml) is taken" in checkout.refused()
    assert not any(" up " in said for said in checkout.docker.said())


def test_setup_stops_at_a_wrong_admin_password(checkout: Checkout) -> None:
    checkout.zenml.password = "another"  # noqa: S105 - the fake's
    checkout.env.write_text(KNOWN)
    assert "ZenML refuses the password of admin" in checkout.refused()
    assert "ZENML_STORE_API_KEY" not in checkout.values()


def test_setup_stores_no_key_that_does_not_work(checkout: Checkout) -> None:
    checkout.zenml.rejects_keys = True
    assert "ZenML refuses the key that it has just made" in checkout.refused()
    assert "ZENML_STORE_API_KEY" not in checkout.values()


def test_setup_waits_for_a_port_that_is_a_moment_late(tmp_path: Path) -> None:
    zenml = FakeZenml()
    port = free_port()
    docker = FakeDocker(tmp_path / "bin", compose_config(zenml=port))
    checkout = Checkout(tmp_path, docker, zenml)
    checkout.env.write_text(KNOWN)
    message = checkout.refused()
    assert f"ZenML at http://127.0.0.1:{port} does not answer" in message
    assert checkout.pauses == [1.0] * 59


@pytest.mark.parametrize("bound", ["0.0.0.0", ""])  # noqa: S104
def test_setup_asks_on_the_loopback_where_zenml_is_published_for_other_machines(tmp_path: Path, bound: str) -> None:
    zenml = FakeZenml("a-zenml-admin-password")
    with serving(zenml):
        config = compose_config(zenml=zenml.port)
        config["services"]["zenml"]["ports"][0]["host_ip"] = bound
        checkout = Checkout(tmp_path, FakeDocker(tmp_path / "bin", config), zenml)
        checkout.env.write_text(KNOWN)
        checkout.set_up()
    assert f"==> ZenML 0.98.0 answers at http://127.0.0.1:{zenml.port}" in checkout.said


def test_setup_misses_a_published_port(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, FakeDocker(tmp_path / "bin", compose_config(mlflow=free_port())), FakeZenml())
    checkout.env.write_text(KNOWN)
    assert "docker-compose.yml publishes no port of zenml" in checkout.refused()


def test_run_setup_reports_its_own_fault_without_its_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Setup, **__: bool) -> None:
        raise ValueError("s3cret")

    monkeypatch.setattr(run_setup.Setup, "run", fail)
    assert run_setup.run_setup([]) == 1
    assert re.fullmatch(
        r"error: ValueError in test_run_setup\.py, line \d+: a fault of this script; please report it\n",
        capsys.readouterr().err,
    )


def test_setup_warns_of_open_ports_and_makes_the_certificate_before_anything_starts(
    tmp_path: Path, zenml: FakeZenml
) -> None:
    config = compose_config(zenml=zenml.port, inference=free_port())
    config["services"]["inference"]["ports"][0]["host_ip"] = "0.0.0.0"  # noqa: S104
    config["services"]["tls-proxy"] = {"image": "haproxy:9", "environment": {"TLS_NAMES": "localhost,"}}
    docker = FakeDocker(tmp_path / "bin", config)
    docker.answers("run --rm", errors="no such image\n", code=1)
    checkout = Checkout(tmp_path, docker, zenml)
    assert checkout.refused() == "cannot make tls/server.pem with openssl in the image haproxy:9: no such image"
    warnings = [line for line in checkout.said if line.startswith("warning: ")]
    assert [line.split()[1] for line in warnings] == ["inference", "WRITE_API_KEY"]
    assert not any(" up " in said for said in docker.said())
