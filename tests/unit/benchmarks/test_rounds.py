from pathlib import Path

import pytest

from benchmarks.environments import NotInstalledError, python_of
from benchmarks.measure import Plan
from benchmarks.rounds import Candidate, measure_rounds
from tests.unit.benchmarks.small_server import material, small_server

PLAN = Plan(connections=(1,), rates=(), sizes=(), seconds=0.1)


def test_servers_take_turns_and_one_that_fails_stops_no_other(tmp_path: Path) -> None:
    told: list[str] = []
    servers = [
        small_server(tmp_path, name="first"),
        small_server(tmp_path, "$python", "-c", "raise SystemExit('no model')", name="broken"),
        small_server(tmp_path, name="wrong", labels="bbb"),
        small_server(tmp_path, name="last"),
    ]
    candidates = [Candidate(server, tmp_path, told.append) for server in servers]
    measure_rounds(candidates, material(tmp_path), PLAN, 2, told.append)
    turns = [text.rpartition(" ")[2] for text in told if text.startswith("round")]
    assert turns == ["first", "broken", "wrong", "last"] * 2
    first, broken, wrong, last = (candidate.outcome for candidate in candidates)
    assert (len(first.measurements), first.failure) == (2, None)
    assert (len(last.measurements), last.failure) == (2, None)
    assert (broken.measurements, broken.failure) == ([], "it ended with exit code 1\nno model")
    assert wrong.measurements == []
    assert "the model a" in str(wrong.failure)


def test_an_environment_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "peer.txt").write_text("./no-such-package-1.0-py3-none-any.whl\n")
    with pytest.raises(NotInstalledError, match="no-such-package"):
        python_of("peer", tmp_path / "environments", tmp_path)


def test_an_environment_is_made_once_and_again_for_other_requirements(tmp_path: Path) -> None:
    requirements = tmp_path / "peer.txt"
    requirements.write_text("")
    python = python_of("peer", tmp_path / "environments", tmp_path)
    assert python.is_file()
    mark = python.parent / "mark"
    mark.touch()
    assert python_of("peer", tmp_path / "environments", tmp_path) == python
    assert mark.exists()
    requirements.write_text("# other ones\n")
    python_of("peer", tmp_path / "environments", tmp_path)
    assert not mark.exists()


def test_a_candidate_without_its_environment_is_not_started(tmp_path: Path) -> None:
    told: list[str] = []
    candidate = Candidate(small_server(tmp_path, environment="no-such-file"), tmp_path, told.append)
    measure_rounds([candidate], material(tmp_path), PLAN, 1, told.append)
    assert str(candidate.outcome.failure).startswith("cannot be installed: ")
    assert len(told) == 1
