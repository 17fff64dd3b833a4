"""The repository's automation runs what the README and CONTRIBUTING.md describe."""

import re
from typing import Any

import yaml

from src.services.local.processes import REPOSITORY
from tests.support.readme import TEXT


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / name).read_text(encoding="utf-8"))
    return found


def makefile_tasks() -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_workflow_runs_the_test_commands_of_the_readme_and_checks_the_images() -> None:
    jobs = load(".github/workflows/ci.yml")["jobs"]
    runs = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    documented = re.findall(r"^All checks and tests.*?```bash\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE)
    assert runs["test"][-2:] == documented[0].splitlines() == ["make test", "make e2e"]
    assert runs["images"] == ["make check-images"]
    assert {command.removeprefix("make ") for command in (*runs["test"][-2:], *runs["images"])} <= makefile_tasks()


def test_workflow_has_no_more_rights_than_reading() -> None:
    assert load(".github/workflows/ci.yml")["permissions"] == {"contents": "read"}


def test_commits_are_checked_as_make_check_does() -> None:
    (repository,) = load(".pre-commit-config.yaml")["repos"]
    assert [hook["entry"] for hook in repository["hooks"]] == ["make check"]


def test_updates_are_proposed_for_every_kind_of_pin() -> None:
    updates = load(".github/dependabot.yml")["updates"]
    assert {(update["package-ecosystem"], update["directory"]) for update in updates} == {
        ("uv", "/"),
        ("docker", "/dockerfiles"),
        ("docker-compose", "/"),
        ("github-actions", "/"),
    }
