"""The README's commands, by who runs them."""

import re

from src.services.local.processes import REPOSITORY

TEXT = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)
# Not run as a block of the README: each is run by a test of its own, or runs the tests.
RUN_ELSEWHERE = {
    "make local": "tests/e2e/test_make_local.py",
    "make up": "tests/e2e/conftest.py",
    "make scale REPLICAS=4": "tests/e2e/test_stack_at_scale.py",
    "python3 setup_zenml_api_key.py": "tests/e2e/test_stack.py",
    "docker compose up -d --wait": "tests/e2e/conftest.py",
    "make config CSV=data-file/incoming/churn.csv TARGET='Churn?'": "tests/integration/test_examples.py",
    "make check-data": "tests/integration/test_examples.py",
    "make test": ".ci/run",
    "make e2e": ".ci/run",
}
_KEPT = ("\n".join(line for line in block.splitlines() if line not in RUN_ELSEWHERE) for block in BLOCKS)
SCRIPTS = [block for block in _KEPT if block.strip()]
# What needs the Compose stack; the rest works with the loop on this machine, and curl with both.
STACK_SCRIPTS = [script for script in SCRIPTS if "docker" in script]
LOOP_SCRIPTS = [script for script in SCRIPTS if "docker" not in script]


def title(script: str) -> str:
    """A test's name for a block."""
    return script.splitlines()[0][:60]


def on_ports(script: str, ports: dict[str, int]) -> str:
    """The block with other ports, and with a curl that fails where the answer is an error."""
    pattern = rf"(?<=localhost:)({'|'.join(ports)})\b"
    there = re.sub(pattern, lambda match: str(ports[match[1]]), script)
    return re.sub(r"\bcurl ", "curl --fail --silent --show-error ", there)
