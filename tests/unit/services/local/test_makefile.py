"""The Makefile's rule for a Python that is asked for, as a dry run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from src.services.local.processes import REPOSITORY


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A Python that is another one than that of `.venv`."""
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\necho another\n")
    path.chmod(0o755)
    return path


def steps(*arguments: str, **changes: str) -> str:
    """What `make local` would run, were `.venv` as new as the lock file."""
    environment = {**os.environ, **changes}
    environment.pop("MAKEFLAGS", None)
    command = ["make", "--dry-run", *(f"--old-file={name}" for name in ("pyproject.toml", "uv.lock")), *arguments]
    script = "src/services/local/bootstrap.py"
    answer = subprocess.run(
        [*command, f"--old-file={script}", "local"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout


def test_make_sets_up_anew_for_another_python(other: Path) -> None:
    assert f"{other} src/services/local/bootstrap.py" in steps(f"PYTHON={other}")
    assert f"{other} src/services/local/bootstrap.py" in steps(PYTHON=str(other))


def test_setup_ends_with_what_to_run_next() -> None:
    command = ["make", "--silent", "--old-file=.venv/.ready", "setup"]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1].startswith("ready. Next: make local ")


def test_make_keeps_what_the_same_python_has_set_up() -> None:
    assert "bootstrap" not in steps(f"PYTHON={sys.executable}")
    assert "bootstrap" not in steps()


@pytest.mark.parametrize("replicas", ["0", "17", "-1", "1.5", "two", ""])
def test_scale_refuses_a_number_of_replicas_that_the_gateway_cannot_serve(replicas: str, tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho started\n")
    docker.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"

    def scale(number: str) -> "subprocess.CompletedProcess[str]":
        command = ["make", "--no-print-directory", f"REPLICAS={number}", "scale"]
        environment = {**os.environ, "PATH": path}
        environment.pop("MAKEFLAGS", None)
        return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)

    refused = scale(replicas)
    assert refused.returncode == 2
    assert "error: REPLICAS must be a whole number from 1 to 16" in refused.stderr
    assert "started" not in refused.stdout
    for good in ("1", "16"):
        assert scale(good).stdout.splitlines()[-1] == "started"


def test_make_alone_lists_every_task() -> None:
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    (phony,) = [line.partition(":")[2].split() for line in text.splitlines() if line.startswith(".PHONY: help")]
    command = ["make", "--no-print-directory"]  # which a make that runs the tests would print
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in listed.splitlines()} == set(phony)


def test_up_shows_the_last_lines_of_services_that_do_not_become_healthy(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text("""#!/bin/sh
case "$*" in
    *ExitCode*) echo 0 ;;
    *.Health*) printf 'inference restarting starting\nmlflow running healthy\nzenml running unhealthy\n' ;;
    "compose up -d --wait") exit 1 ;;
    *) echo "ran: $*" ;;
esac
""")
    docker.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "up", "PYTHON=true"]
    ended = subprocess.run(
        command, cwd=REPOSITORY, env={**clean, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert ended.returncode != 0
    shown = [line for line in ended.stdout.splitlines() if line.startswith("ran: compose logs")]
    assert shown == ["ran: compose logs --tail 10 inference", "ran: compose logs --tail 10 zenml"]
    assert "ready" not in ended.stdout


@pytest.mark.parametrize(
    ("services", "overlay"),
    [("inference\ntls-proxy", "-f docker-compose.tls.yml "), ("inference\nnot-tls-proxy", "")],
)
def test_scale_keeps_the_tls_overlay_where_it_is_in_use(services: str, overlay: str, tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f"""#!/bin/sh\n[ "$*" = "compose config --services" ] && echo "{services}" || echo "ran: $*"\n""")
    docker.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("MAKEFLAGS", None)
    command = ["make", "--no-print-directory", "scale"]
    answer = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    files = f"-f docker-compose.yml -f docker-compose.scale.yml {overlay}up -d --wait"
    assert answer.stdout.splitlines()[-1].startswith(f"ran: compose {files} ")


@pytest.mark.parametrize(("secrets", "options"), [("1", ["--secrets"]), ("0", []), ("", [])])
@pytest.mark.parametrize("task", ["backup", "restore"])
def test_secrets_are_in_a_backup_only_where_they_are_asked_for(task: str, secrets: str, options: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
    command = ["make", "--dry-run", task, f"SECRETS={secrets}", "FILE=backups/a.tar"]
    answer = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    assert [word for word in answer.stdout.split() if word == "--secrets"] == options


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ("quality", "compose exec -T quality python -m src.services.quality.erase a $b 'c'"),
        ("", "-m src.services.quality.erase a $b 'c'"),
    ],
)
def test_erase_is_done_in_the_stack_where_it_runs_and_gets_the_id_unchanged(
    runs: str, said: str, tmp_path: Path
) -> None:
    for name, body in (("docker", f'[ "$2" = ps ] && echo "{runs}" || echo "$@"'), ("python", 'echo "$@"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    command = ["make", "--silent", "--old-file=.venv/.ready", f"BIN={tmp_path}", "erase", "ID=a $b 'c'"]
    answer = subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
    )
    assert answer.stdout == f"{said}\n"
