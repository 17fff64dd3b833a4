import json
import shlex
import subprocess
from typing import Any

import pytest

from src.services.inference.formats.schemas import Answer
from src.services.inference.model.model_loader import load_predictor
from src.services.inference.model.model_version import ModelVersion
from src.services.inference.model.predictor import Predictor
from src.services.inference.page.answer import MAX_BARS, answer_view, curl_of

URL = "http://localhost:8000/"
ROW = (5.1, 3.5, 1.4, 0.2)


@pytest.fixture(scope="module")
def predictor(models: Any) -> Predictor:
    directory, digest = models["first"]
    return load_predictor(directory, ModelVersion(name="iris", version="7", manifest_sha256=digest), "cache")


def test_answer_has_a_bar_per_class_the_likeliest_first(predictor: Predictor) -> None:
    view = answer_view(predictor, ROW, Answer("b", {"a": 0.25, "b": 0.7, "c": 0.05}), b"{}", URL)
    assert (view.prediction, view.version, view.problems, view.more) == ("b", "7", [], 0)
    assert [(bar.label, bar.share, bar.shown, bar.chosen) for bar in view.bars] == [
        ("b", 0.7, "70.0 %", True),
        ("a", 0.25, "25.0 %", False),
        ("c", 0.05, "5.0 %", False),
    ]


def test_answer_of_many_classes_counts_what_has_no_bar(predictor: Predictor) -> None:
    view = answer_view(predictor, ROW, Answer("0", {str(n): 1 / 100 for n in range(100)}), b"{}", URL)
    assert (len(view.bars), view.more) == (MAX_BARS, 100 - MAX_BARS)


@pytest.mark.parametrize(("value", "shown"), [(1234.56789, "1234.57"), (-0.5, "-0.5"), (1e12, "1e+12")])
def test_answer_of_a_regression_is_its_number(predictor: Predictor, value: float, shown: str) -> None:
    view = answer_view(predictor, ROW, Answer(value), b"{}", URL)
    assert (view.prediction, view.bars) == (shown, ())


def test_answer_without_probabilities_is_its_class(predictor: Predictor) -> None:
    view = answer_view(predictor, ROW, Answer("a"), b"{}", URL)
    assert (view.prediction, view.bars) == ("a", ())


def test_values_that_training_has_not_seen_are_told(predictor: Predictor) -> None:
    assert answer_view(predictor, ROW, Answer("a"), b"{}", URL).doubts == ()
    view = answer_view(predictor, (5.1, 35.0, 1.4, -0.2), Answer("a"), b"{}", URL)
    assert [doubt.partition(" is outside")[0] for doubt in view.doubts] == ["sepal_width", "petal_width"]


def test_curl_sends_just_this_record_through_a_real_shell() -> None:
    record = json.dumps({"it's": '$(touch /tmp/x) `id` "\\', "ü": 1}, ensure_ascii=False).encode()
    command = curl_of(URL, record)
    assert shlex.split(command)[-1] == "http://localhost:8000/predict"
    printed = subprocess.run(
        ["sh", "-c", f'curl() {{ printf "%s" "$4"; }}; {command}'], capture_output=True, check=True
    )
    assert printed.stdout == record
