from datetime import UTC, datetime

import pytest

from src.core.retrain_record import Scores, Step
from src.training.gate import Comparison, decide
from tests.support.training import VERDICT, config


def scores(f1_macro: float, accuracy: float = 0.5) -> Scores:
    return {"accuracy": accuracy, "f1_macro": f1_macro, "neg_log_loss": -0.1}


GATE = config(gate={"metric": "f1_macro", "floor": 0.85, "tolerance": 0.01}).gate


@pytest.mark.parametrize(
    ("challenger", "champion", "promoted"),
    [
        (0.85, None, True),
        (0.8499, None, False),
        (0.95, 0.95, True),
        (0.95, 0.96, True),  # 0.96 - 0.01 is a little more than 0.95 in floating point on some machines
        (0.9499, 0.96, False),
        (0.99, 0.90, True),
        (0.84, 0.84, False),  # as good as the champion, yet below the floor
    ],
)
def test_gate_needs_the_floor_and_the_champion_less_the_tolerance(
    challenger: float, champion: float | None, *, promoted: bool
) -> None:
    comparison = Comparison(
        challenger=scores(challenger),
        champion=None if champion is None else scores(champion),
        champion_version=None if champion is None else "3",
    )
    assert decide(GATE, comparison)[0] is promoted


def test_gate_goes_by_the_configured_metric() -> None:
    gate = config(gate={"metric": "accuracy", "floor": 0.85}).gate
    assert not decide(gate, Comparison(challenger=scores(0.99, accuracy=0.84)))[0]
    assert decide(gate, Comparison(challenger=scores(0.1, accuracy=0.86)))[0]


@pytest.mark.parametrize(
    ("comparison", "reason"),
    [
        (
            Comparison(challenger=scores(0.8)),
            "f1_macro 0.8000 is below the floor 0.8500",
        ),
        (
            Comparison(challenger=scores(0.9)),
            "f1_macro 0.9000 reaches the floor 0.8500; there is no champion yet",
        ),
        (
            Comparison(challenger=scores(0.9), champion_version="3", champion_problem="version 3 lacks model.onnx"),
            "f1_macro 0.9000 reaches the floor 0.8500; the champion could not be scored: version 3 lacks model.onnx",
        ),
        (
            Comparison(
                challenger=scores(0.9), champion_problem="version 3 takes other columns: a", champion_differs=True
            ),
            (
                "the champion is a model of something else: version 3 takes other columns: a; "
                "give this one a MODEL_NAME of its own, or take the champion alias away"
            ),
        ),
        (
            Comparison(challenger=scores(0.9), champion=scores(0.95), champion_version="3"),
            "f1_macro 0.9000 is below the champion's 0.9500 (version 3) less 0.0100",
        ),
    ],
)
def test_gate_says_why(comparison: Comparison, reason: str) -> None:
    assert decide(GATE, comparison)[1] == reason


def test_verdict_becomes_the_requests_outcome() -> None:
    verdict = VERDICT.model_copy(update={"champion": scores(0.9)})
    now = datetime.now(UTC)
    seconds = {Step.TRAIN: 1.5}
    result = verdict.to_result(now, seconds)
    assert result.model_dump() == verdict.model_dump() | {"finished_at": now, "step_seconds": seconds}


def test_gate_holds_a_model_of_something_else_however_good() -> None:
    perfect = Comparison(challenger=scores(1.0), champion_version="3", champion_problem="x", champion_differs=True)
    assert not decide(GATE, perfect)[0]
