"""The gate's rule, clause by clause, at its boundaries."""

from datetime import UTC, datetime
from typing import Any

import pytest

from src.core.gate_config import GateConfig
from src.core.retrain_record import Scores, Step
from src.training.comparison import Baseline, Comparison, Difference, SliceScore
from src.training.gate import decide
from tests.support.training import VERDICT


def scores(f1_macro: float, **others: float) -> Scores:
    return {"f1_macro": f1_macro, "accuracy": 0.5, **others}


def difference(point: float, bound: float = 0.0) -> Difference:
    return Difference(point=point, low=point - 0.02, high=point + 0.02, bound=bound)


def baseline(bound: float) -> Baseline:
    return Baseline(name="always 'no'", score=0.3333, difference=difference(0.5, bound))


def gate(**values: Any) -> GateConfig:
    return GateConfig.model_validate({"metric": "f1_macro", "floor": 0.85, "tolerance": 0.01} | values)


def compared(challenger: float = 0.9, champion: float | None = 0.9, **values: Any) -> Comparison:
    found = {"champion": scores(champion), "champion_version": "3"} if champion is not None else {}
    return Comparison.model_validate({"challenger": scores(challenger), **found, **values})


def slices(*found: tuple[str, float, float, float, bool]) -> list[SliceScore]:
    return [
        SliceScore(column="region", value=value, rows=60, challenger=ours, champion=theirs, p_value=p, worse=worse)
        for value, ours, theirs, p, worse in found
    ]


LESS = {"metric": "cost", "floor": 0.4}


def costs(challenger: float, champion: float | None = None, **values: Any) -> Comparison:
    theirs = {} if champion is None else {"champion": {"cost": champion}, "champion_version": "3"}
    return Comparison.model_validate(
        {"challenger": {"cost": challenger}, "lower_is_better": ["cost"], **theirs, **values}
    )


@pytest.mark.parametrize(
    ("rule", "comparison", "promoted"),
    [
        # The floor.
        ({}, compared(0.85, None), True),
        ({}, compared(0.85 - 1e-12, None), True),
        ({}, compared(0.8499, None), False),
        ({}, compared(0.84, 0.84), False),
        ({"floor": None}, compared(0.1, None), True),
        ({"floor": -0.1}, compared(-0.2, None), False),
        # The minimums of other metrics.
        ({"minimums": {"accuracy": 0.5}}, compared(), True),
        ({"minimums": {"accuracy": 0.5 + 1e-12}}, compared(), True),
        ({"minimums": {"accuracy": 0.51}}, compared(), False),
        ({"minimums": {"roc_auc": 0.5}}, compared(), False),
        ({"minimums": {"cost": 0.4}}, compared(challenger=0.9, lower_is_better=["cost"]), False),
        # Baselines: the bound must be above 0.
        ({}, compared(baseline=baseline(0.0001)), True),
        ({}, compared(baseline=baseline(0.0)), False),
        ({}, compared(baseline=baseline(1e-12)), False),
        ({}, compared(baseline=baseline(-0.1)), False),
        ({}, compared(baseline=baseline(float("-inf"))), False),
        ({}, compared(baselines_undefined=True), True),
        ({"floor": None}, compared(baselines_undefined=True), False),
        # The champion.
        ({}, compared(0.95, 0.95), True),
        ({}, compared(0.95, 0.96), True),  # 0.96 - 0.01 is a little more than 0.95 in floating point
        ({}, compared(0.9499, 0.96), False),
        ({}, compared(0.99, 0.90), True),
        ({"tolerance": 0.0}, compared(0.9, 0.9 + 1e-12), True),
        ({"tolerance": 0.0}, compared(0.9, 0.9001), False),
        # The best former champion: no slide in small steps.
        ({}, compared(best=scores(0.91), best_version="2"), True),
        ({}, compared(best=scores(0.9101), best_version="2"), False),
        # A champion that cannot be scored because its own classes have changed.
        ({}, compared(champion=None, champion_version="3", champion_of_other_code=True), True),
        ({"floor": None}, compared(champion=None, champion_version="3", champion_of_other_code=True), False),
        ({"floor": None, "allow_breaking": True}, compared(champion=None, champion_of_other_code=True), True),
        ({"floor": None}, compared(champion=None, champion_of_other_code=True, best=scores(0.9)), True),
        ({"floor": None}, compared(champion=None, champion_version="3", champion_problem="damaged"), True),
        # The confidence bound of the difference to the champion.
        ({}, compared(champion_difference=difference(0.0, -0.5)), True),
        ({"confidence": 0.9}, compared(champion_difference=difference(0.0, -0.0099)), True),
        ({"confidence": 0.9}, compared(champion_difference=difference(0.0, -0.01)), False),
        ({"confidence": 0.9}, compared(champion_difference=difference(0.0, -0.02)), False),
        ({"confidence": 0.9}, compared(champion=None), True),
        # Slices.
        ({}, compared(slices=slices(("south", 0.1, 0.9, 0.2, False))), True),
        ({}, compared(slices=slices(("north", 0.9, 0.9, 0.6, False), ("south", 0.1, 0.9, 0.001, True))), False),
        # What the champion's callers rely on, and what was rolled back.
        ({}, compared(breaking=["the column age is gone"]), False),
        ({"allow_breaking": True}, compared(breaking=["the column age is gone"]), True),
        ({}, compared(repeats="7"), False),
        # Metrics where lower is better: the floor is an upper limit.
        (LESS, costs(0.4), True),
        (LESS, costs(0.41), False),
        (LESS, costs(0.3, 0.29), True),
        (LESS, costs(0.3, 0.28), False),
        (LESS, costs(0.3, 0.4), True),
        (LESS, costs(0.3, best={"cost": 0.28}, best_version="2"), False),
        (LESS, costs(0.3, baseline=baseline(-0.001)), True),
        (LESS, costs(0.3, baseline=baseline(0.001)), False),
        (LESS | {"confidence": 0.9}, costs(0.3, 0.3, champion_difference=difference(0.0, 0.009)), True),
        (LESS | {"confidence": 0.9}, costs(0.3, 0.3, champion_difference=difference(0.0, 0.011)), False),
        # A metric that is not defined on these rows.
        ({"floor": None}, Comparison(challenger={"accuracy": 0.9}), False),
        ({}, Comparison(challenger={"accuracy": 0.9}, champion=scores(0.9), champion_version="3"), False),
        ({}, compared(champion=None, best={"accuracy": 0.9}, best_version="2"), True),
    ],
)
def test_every_clause_decides_at_its_boundary(rule: dict[str, Any], comparison: Comparison, *, promoted: bool) -> None:
    assert decide(gate(**rule), comparison)[0] is promoted


FIGURES = (
    "f1_macro 0.9107 (floor 0.85, best answer without features 0.3333); champion version 3 has 0.9050: "
    "difference +0.0057 (95 % interval -0.0143 to +0.0257) on 412 rows that neither was trained on"
)
FULL = {
    "challenger": 0.9107,
    "champion": 0.905,
    "rows": 412,
    "basis": "that neither was trained on",
    "champion_difference": difference(0.0057),
    "baseline": baseline(0.4),
}


@pytest.mark.parametrize(
    ("rule", "comparison", "reason"),
    [
        ({}, compared(**FULL), FIGURES),
        (
            {},
            compared(**FULL | {"live_days": 90.0}),
            FIGURES.replace("412 rows", "412 labelled live rows of the last 90 days"),
        ),
        (
            {"floor": 0.95},
            compared(**FULL),
            f"f1_macro 0.9107 is below the floor 0.95; {FIGURES.replace('0.85', '0.95')}",
        ),
        (
            {},
            compared(**FULL | {"baseline": baseline(-0.01)}),
            "does not beat always 'no' with f1_macro 0.3333: the one-sided 95 % bound of the difference is -0.0100; "
            + FIGURES,
        ),
        (
            {"floor": None},
            compared(0.9, None, baselines_undefined=True),
            (
                "cannot be compared with a constant answer, for which f1_macro is undefined: set gate.floor to the "
                "lowest score that may be served; f1_macro 0.9000; there is no champion yet"
            ),
        ),
        ({}, compared(0.9, None), "f1_macro 0.9000 (floor 0.85); there is no champion yet"),
        (
            {},
            compared(0.9, None, rows=40, basis="that are held out"),
            "f1_macro 0.9000 (floor 0.85); there is no champion yet; scored on 40 rows that are held out",
        ),
        (
            {},
            compared(0.9, None, champion_version="3", champion_problem="version 3 lacks model.onnx", rows=40),
            (
                "f1_macro 0.9000 (floor 0.85); the champion could not be scored, so only the floor and the best "
                "answer without features decide: version 3 lacks model.onnx; scored on 40 rows"
            ),
        ),
        (
            {},
            compared(0.9, None, champion_problem="version 3 lacks model.onnx", best=scores(0.9), best_version="2"),
            (
                "f1_macro 0.9000 (floor 0.85); the champion could not be scored: version 3 lacks model.onnx; "
                "version 2, the best former champion, has 0.9000"
            ),
        ),
        (
            {"floor": None},
            compared(0.9, None, champion_version="3", champion_problem="other code", champion_of_other_code=True),
            (
                "cannot be compared with champion version 3, whose classes of src/pipeline have changed: set "
                "gate.floor to the lowest score that may be served, or gate.allow_breaking: true for one training, or "
                "restore the code; f1_macro 0.9000; the champion could not be scored, so only the floor and the best "
                "answer without features decide: other code"
            ),
        ),
        (
            {},
            compared(0.9, 0.95),
            (
                "worse than champion version 3 by more than the tolerance 0.01; f1_macro 0.9000 (floor 0.85); "
                "champion version 3 has 0.9500"
            ),
        ),
        (
            {},
            compared(0.9, 0.9, best=scores(0.95), best_version="2", best_difference=difference(-0.05)),
            (
                "worse than the best former champion, version 2, by more than the tolerance 0.01; f1_macro 0.9000 "
                "(floor 0.85); champion version 3 has 0.9000; version 2, the best former champion, has 0.9500: "
                "difference -0.0500 (95 % interval -0.0700 to -0.0300)"
            ),
        ),
        (
            {"confidence": 0.9},
            compared(champion_difference=difference(0.0, -0.02)),
            (
                "not shown to be as good as the champion: the one-sided 90 % bound of the difference, -0.0200, lies "
                "below -0.01; f1_macro 0.9000 (floor 0.85); champion version 3 has 0.9000: difference +0.0000 "
                "(95 % interval -0.0200 to +0.0200)"
            ),
        ),
        (
            {"confidence": 0.9, "tolerance": 0.0},
            compared(champion_difference=difference(0.0, -0.02)),
            (
                "not shown to be as good as the champion: the one-sided 90 % bound of the difference, -0.0200, lies "
                "below 0; f1_macro 0.9000 (floor 0.85); champion version 3 has 0.9000: difference +0.0000 "
                "(95 % interval -0.0200 to +0.0200)"
            ),
        ),
        (
            LESS | {"confidence": 0.9},
            costs(0.3, 0.3, champion_difference=difference(0.0, 0.02)),
            (
                "not shown to be as good as the champion: the one-sided 90 % bound of the difference, +0.0200, lies "
                "above 0.01; cost 0.3000 (lower is better, floor 0.4); champion version 3 has 0.3000: "
                "difference +0.0000 (95 % interval -0.0200 to +0.0200)"
            ),
        ),
        (
            {},
            compared(slices=slices(("east", 0.9, 0.9, 0.5, False), ("south", 0.9, 0.9 + 1e-12, 0.9, False))),
            "f1_macro 0.9000 (floor 0.85); champion version 3 has 0.9000",
        ),
        (
            {},
            compared(
                slices=slices(
                    ("east", 0.8, 0.9, 0.001, True), ("south", 0.5, 0.9, 0.0005, True), ("west", 0.9, 0.9, 0.7, False)
                )
            ),
            (
                "significantly worse than the champion where region is south: 0.5000 against 0.9000 on 60 rows, "
                "p = 0.0005 (and in 1 more slice); f1_macro 0.9000 (floor 0.85); champion version 3 has 0.9000"
            ),
        ),
        (
            {},
            compared(slices=slices(("east", 0.8, 0.9, 0.5, False), ("south", 0.5, 0.9, 0.04, False))),
            (
                "f1_macro 0.9000 (floor 0.85); champion version 3 has 0.9000; "
                "worst slice: region is south: 0.5000 against 0.9000 on 60 rows, p = 0.04"
            ),
        ),
        (
            {},
            compared(breaking=["the column age is gone.", "a new class"], repeats="7"),
            (
                "breaks the champion's callers, which gate.allow_breaking does not allow: the column age is gone, "
                "a new class; has the same data, settings and code as version 7, which was rolled back: change one "
                "of them, or roll back to return to it; "
                "f1_macro 0.9000 (floor 0.85); champion version 3 has 0.9000"
            ),
        ),
        (
            {"allow_breaking": True},
            compared(breaking=["the column age is gone"]),
            (
                "f1_macro 0.9000 (floor 0.85); champion version 3 has 0.9000; breaking changes, as gate.allow_breaking "
                "allows: the column age is gone"
            ),
        ),
        (
            {"floor": None},
            Comparison(challenger={"accuracy": 0.9}),
            "f1_macro is not defined on these rows; f1_macro undefined; there is no champion yet",
        ),
        ({"minimums": {"recall": 0.5}, "floor": None}, compared(challenger=0.9), None),
        (
            LESS,
            costs(12345.678),
            "cost 12345.7 is above the floor 0.4; cost 12345.7 (lower is better, floor 0.4); there is no champion yet",
        ),
    ],
)
def test_reason_gives_what_is_broken_and_the_figures(
    rule: dict[str, Any], comparison: Comparison, reason: str | None
) -> None:
    found = decide(gate(**rule), comparison)[1]
    if reason is None:
        assert found.startswith("recall is not defined on these rows; f1_macro 0.9000; champion version 3")
    else:
        assert found == reason


def test_comparison_travels_as_json() -> None:
    infinite = Difference(point=0.1, low=float("-inf"), high=float("inf"), bound=float("-inf"))
    comparison = compared(
        champion_difference=infinite, slices=slices(("south", 0.5, 0.9, 0.04, False)), best_version="2"
    )
    assert Comparison.model_validate_json(comparison.model_dump_json()) == comparison


def test_slice_without_a_score_has_no_difference() -> None:
    assert SliceScore(column="a", value="b", rows=50, challenger=None, champion=0.5).difference is None
    assert SliceScore(column="a", value="b", rows=50, challenger=0.5).difference is None
    assert SliceScore(column="a", value="b", rows=50, challenger=0.5, champion=0.75).difference == -0.25


def test_verdict_becomes_the_requests_outcome() -> None:
    verdict = VERDICT.model_copy(update={"champion": scores(0.9)})
    now = datetime.now(UTC)
    seconds = {Step.TRAIN: 1.5}
    result = verdict.to_result(now, seconds)
    assert result.model_dump() == verdict.model_dump() | {"finished_at": now, "step_seconds": seconds}
