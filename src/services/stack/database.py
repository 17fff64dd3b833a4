"""The stack's databases: a dump of both, taken and read in through the client programs in MySQL's own container."""

from __future__ import annotations

import shutil
from typing import IO

from src.services.stack.docker_cli import Docker
from src.services.stack.errors import StackError

# Root may log in through the socket alone. The password is a variable of the container, so it is in no command line.
_AS_ROOT = 'MYSQL_PWD="$MYSQL_ROOT_PASSWORD" exec {} --protocol=socket --user=root '
_DUMP = _AS_ROOT.format("mysqldump") + (
    "--single-transaction --routines --triggers --no-tablespaces --set-gtid-purged=OFF --hex-blob "
    "--databases zenml mlflow"
)
_CLIENT = _AS_ROOT.format("mysql")
_IN_MYSQL = ("compose", "exec", "-T", "mysql", "sh", "-c")
# In ZenML's own image, with the library with which ZenML checks passwords.
_HASH = (
    "import os; from passlib.context import CryptContext; "
    "print(CryptContext(schemes=['bcrypt']).hash(os.environ['ZENML_DEFAULT_USER_PASSWORD']))"
)


def dump(docker: Docker, target: IO[bytes]) -> None:
    """Write a dump of one moment, while the databases are in use. Raises StackError."""
    with docker.piped(*_IN_MYSQL, _DUMP) as pipes:
        shutil.copyfileobj(pipes.output, target)


def read_in(docker: Docker, source: IO[bytes]) -> None:
    """Read a dump into the databases. Raises StackError."""
    with docker.piped(*_IN_MYSQL, _CLIENT) as pipes:
        shutil.copyfileobj(source, pipes.input)


def query(docker: Docker, sql: str) -> list[list[str]]:
    """The rows of a query's answer. Raises StackError."""
    answer = docker.run(*_IN_MYSQL, _CLIENT + "--batch --skip-column-names", given=sql)
    if answer.code != 0:
        raise StackError(f"MySQL refuses a query: {answer.last_error}")
    return [line.split("\t") for line in answer.output.splitlines()]


def aliases(docker: Docker) -> dict[str, dict[str, str]]:
    """The version of each registered model's aliases; none before MLflow's first start."""
    if not query(docker, "SHOW TABLES FROM mlflow LIKE 'registered_model_aliases'"):
        return {}
    found: dict[str, dict[str, str]] = {}
    for name, alias, version in query(docker, "SELECT name, alias, version FROM mlflow.registered_model_aliases"):
        found.setdefault(name, {})[alias] = version
    return found


def set_admin_password(docker: Docker, admin: str) -> None:
    """Give ZenML's administrator the password of ``.env``. Raises StackError."""
    run = ("compose", "run", "--rm", "--no-deps", "-T", "--quiet-pull", "--entrypoint", "python", "zenml", "-c", _HASH)
    answer = docker.run(*run)
    hashed = answer.output.strip()
    if answer.code != 0 or not hashed.startswith("$2"):
        raise StackError(f"ZenML's image cannot hash a password: {answer.last_error}")
    query(docker, f"UPDATE zenml.user SET password = '{hashed}' WHERE name = '{admin}' AND NOT is_service_account")  # noqa: S608 - no user's input
