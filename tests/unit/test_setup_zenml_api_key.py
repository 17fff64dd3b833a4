import ast
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from src.services.local.processes import REPOSITORY
from tests.unit.services.stack.fakes import FakeDocker, FakeZenml, compose_config, serving

SCRIPT = "setup_zenml_api_key.py"
# What the set-up has in common with the other processes.
SHARED = "src/core/misspelt.py"
SOURCES = [REPOSITORY / SCRIPT, REPOSITORY / SHARED, *sorted((REPOSITORY / "src/services/stack").glob("*.py"))]
OURS = ("src.services.stack", "src.core.misspelt")
PASSWORDS = "ZENML_ADMIN_PASSWORD=right\n"


def runs(python: str) -> bool:
    """Whether this is a Python: a version manager's wrapper may name one that it does not have."""
    code = "import sys; sys.exit(sys.version_info[0] != 3)"
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0


OLDEST = next(
    (python for name in ("python3.9", "python3.10") if (python := shutil.which(name)) and runs(python)), sys.executable
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As little of the repository as the script needs."""
    folder = tmp_path / "checkout"
    shutil.copytree(REPOSITORY / "src/services/stack", folder / "src/services/stack")
    (folder / "src/core").mkdir()
    for name in (SCRIPT, SHARED, "src/__init__.py", "src/core/__init__.py", "src/services/__init__.py"):
        shutil.copy(REPOSITORY / name, folder / name)
    return folder


def run(
    checkout: Path, *arguments: str, python: str = sys.executable, **environment: str
) -> subprocess.CompletedProcess[str]:
    # -I -S: nothing of this environment's packages; the script's own folder comes back by the code.
    code = f"import sys, runpy; sys.path.insert(0, {str(checkout)!r}); sys.argv[0] = {SCRIPT!r}; "
    code += f"runpy.run_path({str(checkout / SCRIPT)!r}, run_name='__main__')"
    given = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(
        [python, "-IS", "-c", code, *arguments],
        env=given,
        capture_output=True,
        text=True,
        check=False,
        cwd=checkout.parent,
    )


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_sources_can_be_read_by_python_3_9(source: Path) -> None:
    tree = ast.parse(source.read_text(), feature_version=(3, 9))
    keywords = {keyword.arg for node in ast.walk(tree) if isinstance(node, ast.Call) for keyword in node.keywords}
    assert not keywords & {"slots", "kw_only", "strict"}  # of dataclass and zip, from 3.10 on


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_sources_import_the_standard_library_and_each_other_alone(source: Path) -> None:
    for node in ast.walk(ast.parse(source.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert name.partition(".")[0] in sys.stdlib_module_names or name.startswith(OURS)


@pytest.mark.parametrize("python", [sys.executable, OLDEST], ids=["this", "oldest"])
def test_script_makes_the_key_with_a_bare_python(checkout: Path, tmp_path: Path, python: str) -> None:
    with serving(FakeZenml()) as url:
        docker = FakeDocker(tmp_path / "bin", compose_config(zenml=int(url.rpartition(":")[2])))
        (checkout / ".env").write_text(PASSWORDS)
        ended = run(checkout, python=python, **docker.environment)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.endswith("next: docker compose up -d --wait\n")
    assert (checkout / ".env").read_text().splitlines()[-1] == "ZENML_STORE_API_KEY=ZENKEY_generation/1+=="
    assert (checkout / ".env").stat().st_mode & 0o777 == 0o600


def test_script_fails_in_one_line(checkout: Path, tmp_path: Path) -> None:
    ended = run(checkout, PATH=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("error: there is no docker program on the PATH; install Docker")
    assert ended.stderr.count("\n") == 1
    assert not (checkout / ".env").exists()


def test_script_helps_without_docker(checkout: Path, tmp_path: Path) -> None:
    ended = run(checkout, "--help", PATH=str(tmp_path))
    assert ended.returncode == 0
    assert ended.stdout.startswith("usage: setup_zenml_api_key.py [-h]")
    assert "ZENML_STORE_API_KEY" in ended.stdout


def test_script_refuses_arguments(checkout: Path) -> None:
    assert run(checkout, "--force").returncode == 2


def test_script_says_that_a_python_is_too_old(checkout: Path) -> None:
    script = checkout / SCRIPT
    script.write_text(script.read_text().replace("OLDEST = (3, 9)", "OLDEST = (3, 99)"))
    shutil.rmtree(checkout / "src")
    ended = run(checkout)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("error: this needs Python 3.9 or newer, and ")
    assert ended.stderr.count("\n") == 1


def test_script_interrupted_ends_with_one_line_and_its_child(checkout: Path, tmp_path: Path) -> None:
    docker = FakeDocker(tmp_path / "bin", compose_config())
    docker.answers("up --detach", "Container started\n", seconds=60)
    child = subprocess.Popen(
        [sys.executable, checkout / SCRIPT],
        env=docker.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        assert child.stderr is not None
        while "Container started" not in child.stdout.readline():
            assert child.poll() is None
        child.send_signal(signal.SIGINT)  # to the script alone: a terminal would send it to docker as well
        errors = child.stderr.read()
    assert (child.returncode, errors) == (130, "error: interrupted; run this again to go on\n")
