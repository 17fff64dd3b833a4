"""A server that speaks MySQL's protocol, as an ordinary process, with the tables of the retrain queue."""

import contextlib
import getpass
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pymysql
from pydantic import SecretStr

from tests.support.installed import program_from
from tests.support.running import free_port, wait_until

PASSWORD = "s3cret word"  # noqa: S105 - of a server that ends with the test
USER = "annabel"
SHARES = ("/usr/share/mysql", "/usr/share/mariadb")
TABLES = ("mysql_system_tables.sql", "mysql_system_tables_data.sql")


class MySqlServer:
    """One server with its data in a folder; it may be stopped and started again.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._program = program_from("mysql_server.sh", seconds=700)
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        own = [] if os.geteuid() else [f"--user={getpass.getuser()}"]
        self._options = ["--no-defaults", f"--datadir={folder}/data", *own]
        # What mariadb-install-db does, which needs more packages.
        (folder / "data").mkdir()
        subprocess.run(
            [self._program, *self._options, "--bootstrap"],
            input=b"\n".join(
                [b"CREATE DATABASE mysql;", b"USE mysql;", b"SET @auth_root_socket = NULL;", *_system_tables()]
            ),
            check=True,
            capture_output=True,
            timeout=120,
        )
        self.start()
        with self.root() as cursor:
            cursor.execute(f"CREATE USER {USER} IDENTIFIED BY '{PASSWORD}'")
            cursor.execute(f"GRANT ALL ON `queue%`.* TO {USER}")

    def start(self) -> None:
        """Start and wait until it answers."""
        listening = [f"--port={self.port}", "--bind-address=127.0.0.1", f"--socket={self._folder}/s.sock"]
        fast = [
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-buffer-pool-size=32M",
            "--performance-schema=OFF",
            f"--log-error={self._folder}/server.log",
        ]
        self._process = subprocess.Popen([self._program, *self._options, *listening, *fast], stderr=subprocess.DEVNULL)
        wait_until("the database answers", self._answers)

    def kill(self) -> None:
        """End it at once, as a power failure would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Stop it without closing connections, as on a host that hangs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def database(self, name: str) -> SecretStr:
        """The URL of a new, empty database."""
        with self.root() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")
            cursor.execute(f"CREATE DATABASE `{name}`")
        return SecretStr(f"mysql+pymysql://{USER}:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{self.port}/{name}")

    @contextlib.contextmanager
    def root(self) -> Iterator[pymysql.cursors.Cursor]:
        """A cursor of the administrator, in autocommit."""
        connection = pymysql.connect(unix_socket=f"{self._folder}/s.sock", user="root", autocommit=True)
        with contextlib.closing(connection), connection.cursor() as cursor:
            yield cursor

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "server.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _system_tables() -> list[bytes]:
    """The statements that create the server's own tables."""
    folder = next(path for path in map(Path, SHARES) if (path / TABLES[0]).exists())
    return [(folder / name).read_bytes() for name in TABLES]
