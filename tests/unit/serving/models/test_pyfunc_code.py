import sys
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature

from src.core.errors import InvalidModelError
from src.core.feature_table import FeatureTable
from src.core.model_registry import LOCAL_MANIFEST_FILE, write_manifest
from src.serving.models.model_loader import load_predictor
from src.serving.models.model_version import ModelVersion
from src.serving.models.predictor import Predictor
from tests.support.mlflow_models import QUICKLY, quietly

pytestmark = pytest.mark.slow

XY = pd.DataFrame({"x": [1.0, 2.0], "y": [3.0, 4.0]})


def save_with_code(directory: Path, code: Path, answer: object, *, example: bool = False) -> None:
    """A model whose answer stands in a module that it brings, and is imported when it is asked."""
    code.mkdir(parents=True)
    (code / "brought_module.py").write_text(f"ANSWER = {answer}\n")
    (code / "brought_model.py").write_text(
        "import mlflow.pyfunc\n"
        "class Brought(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        import brought_module\n"
        "        return [brought_module.ANSWER] * len(model_input)\n"
    )
    sys.path.insert(0, str(code))
    try:
        with quietly():
            from brought_model import Brought  # type: ignore[import-not-found] # noqa: PLC0415

            mlflow.pyfunc.save_model(
                str(directory),
                python_model=Brought(),
                code_paths=[str(code / "brought_module.py"), str(code / "brought_model.py")],
                signature=infer_signature(XY, np.array([1.0])),
                input_example=XY if example else None,
                **QUICKLY,
            )
    finally:
        sys.path.remove(str(code))
        for name in ("brought_module", "brought_model"):
            sys.modules.pop(name, None)


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def load(directory: Path) -> Predictor:
    write_manifest(directory, LOCAL_MANIFEST_FILE)
    return load_predictor(directory, ModelVersion(name="m", version="1", origin_sha256="0" * 64), "cache")


def answers(predictor: Predictor) -> list[float]:
    return list(predictor.engine.predict(FeatureTable.from_rows(predictor.schema, [(1.0, 2.0)])).values)


def test_each_version_runs_the_code_that_it_brought(tmp_path: Path) -> None:
    for version in (1, 2):
        save_with_code(tmp_path / "cache" / str(version), tmp_path / "code" / str(version), version)
    for version in (1, 2, 1):
        assert answers(load(tmp_path / "cache" / str(version))) == [version]
    assert len([entry for entry in sys.path if str(tmp_path) in entry]) == 1


def test_model_keeps_its_code_where_the_next_one_is_refused(tmp_path: Path) -> None:
    for version, answer in ((1, "1"), (2, "float('nan')")):
        save_with_code(tmp_path / "cache" / str(version), tmp_path / "code" / str(version), answer, example=True)
    served = load(tmp_path / "cache" / "1")
    with pytest.raises(InvalidModelError, match="finite"):
        load(tmp_path / "cache" / "2")
    del sys.modules["brought_module"]  # as if the model had not yet come to import it
    assert answers(served) == [1]
