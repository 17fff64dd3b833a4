"""docs/tls.md: its commands read the passwords of any .env, also of one that an editor on Windows has written."""

import re
import subprocess
from pathlib import Path

from src.services.local.processes import REPOSITORY

READS = re.findall(r"\$\((sed [^)]*)\)", (REPOSITORY / "docs/tls.md").read_text(encoding="utf-8"))


def test_password_of_an_env_file_with_windows_line_endings_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"SIGN_IN_PASSWORD=secret\r\nWRITE_API_KEY=secret\r\n")
    commands = [["bash", "-c", command] for command in READS]
    read = [subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout for command in commands]
    assert read == [b"secret\n"] * 3
