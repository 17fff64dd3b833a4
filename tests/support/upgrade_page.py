"""The commands of docs/upgrade.md, by who runs them."""

import re

from src.services.local.processes import REPOSITORY

TEXT = (REPOSITORY / "docs" / "upgrade.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)
# Run by tests/integration/test_upgrade_page.py.
NAME_UPSTREAM, MERGE, KEEP_YOURS = (block for block in BLOCKS if block.startswith("git "))
# Run by tests/e2e/test_upgrade.py.
COPY, CONVERT, GO_BACK = (block for block in BLOCKS if "docker" in block)
# Run by tests of their own.
RUN_ELSEWHERE = {
    "make check-data\nmake check\n": "tests/integration/test_examples.py, and make test itself",
    "make up\n": "tests/e2e/conftest.py",
}
