"""Automatic rollbacks on real services: what counts as a fault, the mislabelled source, and the report."""

from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest

from benchmarks.real_rollbacks import report
from benchmarks.rollback_run import Run
from benchmarks.rollback_versions import Flowers
from src.core.pipeline_config import load_pipeline_config
from src.core.rollout_record import Rollout, RolloutState
from tests.support.configuration import CONFIG_FILE

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def run(*, is_worse: bool, answers: dict[str, int] | None = None, **record: object) -> Run:
    """A run that went as it must, except for what is given."""
    state = RolloutState.ROLLED_BACK if is_worse else RolloutState.KEPT
    fields = {"state": state, "requested": is_worse, "rows": 500, **record}
    rollout = Rollout(model="iris", version="2", previous="1", started=NOW, until=NOW).model_copy(update=fields)
    return Run(is_worse, -0.08 if is_worse else 0.001, rollout, 20.0, Counter(answers or {"200": 10}))


def test_runs_that_went_as_they_must_have_no_faults() -> None:
    assert run(is_worse=True).faults == run(is_worse=False).faults == []
    assert run(is_worse=True, rows=100).faults == []  # a proof needs no more


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (
            run(is_worse=True, state=RolloutState.KEPT, reason="no proof"),
            "version 2 is kept, not rolled_back: no proof",
        ),
        (run(is_worse=False, state=RolloutState.ROLLED_BACK), "version 2 is rolled_back, not kept: None"),
        (run(is_worse=True, requested=False), "the rollback of version 2 was not requested by the process quality"),
        (run(is_worse=False, rows=499), "version 2 was compared on 499 rows only"),
        (run(is_worse=False, answers={"200": 9, "503": 1}), "version 2: requests failed: {'200': 9, '503': 1}"),
        (run(is_worse=True, answers={"ConnectError": 1}), "version 2: requests failed: {'ConnectError': 1}"),
    ],
)
def test_fault_is_found(found: Run, fault: str) -> None:
    assert found.faults == [fault]


def test_mislabelled_source_names_the_shortest_third_of_one_class_wrongly() -> None:
    flowers = Flowers(load_pipeline_config(CONFIG_FILE))
    frame = flowers.draw(3000, np.random.default_rng(1))
    assert set(frame.groupby("species").size().between(900, 1100)) == {True}
    assert (frame.drop(columns="species") >= 0.1).all(axis=None)
    changed = flowers.mislabelled(frame)
    moved = frame["species"] != changed["species"]
    assert set(zip(frame["species"][moved], changed["species"][moved], strict=True)) == {("virginica", "versicolor")}
    virginica = frame["species"] == "virginica"
    assert 0.29 < moved.sum() / virginica.sum() < 0.32
    assert frame["petal_length"][moved].max() < frame["petal_length"][virginica & ~moved].min()
    assert frame.drop(columns="species").equals(changed.drop(columns="species"))


def test_report_counts_decisions_and_failed_requests() -> None:
    runs = [run(is_worse=True), run(is_worse=False), run(is_worse=True, state=RolloutState.KEPT, answers={"503": 2})]
    text = report("conditions", 7, runs)
    assert "1 of 2 versions that are worse were rolled back; 1 of 1 as\ngood ones were kept. 2 of 22 requests" in text
    assert "- version 2 is kept, not rolled_back: None\n- version 2: requests failed: {'503': 2}\n" in text
    assert "| 2 | 1 | wrong labels | -8.0% | rolled_back | 20.0 | 500 | +0.0% | 1.0 |" in text
    assert "- none" in report("conditions", 7, runs[:2])
