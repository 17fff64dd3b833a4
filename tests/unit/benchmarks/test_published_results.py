"""What the README says of speed is what was measured."""

import msgspec
import pytest

from benchmarks.report import markdown, summary
from benchmarks.results import Results
from benchmarks.run_bench import PUBLISHED
from src.services.local.processes import REPOSITORY


@pytest.fixture(scope="module")
def results() -> Results:
    return msgspec.json.decode((PUBLISHED / "results.json").read_bytes(), type=Results)


def test_readme_has_the_table_of_the_published_results(results: Results) -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## How fast it is")[2].partition("\n## ")[0]
    table = "\n".join(line for line in section.splitlines() if line.startswith("|"))
    assert table == summary(results).strip(), f"put this into README.md, “How fast it is”:\n\n{summary(results)}"


def test_published_page_is_that_of_the_published_results(results: Results) -> None:
    assert (PUBLISHED / "README.md").read_text(encoding="utf-8") == markdown(results)


def test_published_results_are_of_a_whole_run_on_an_idle_machine(results: Results) -> None:
    assert results.command == "make bench"
    assert results.machine.idle
    assert not [outcome.name for outcome in results.outcomes if outcome.failure]
