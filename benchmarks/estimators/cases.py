"""Which estimators are measured on which tables, and what becomes of each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from examples.churn import make_data as churn
from examples.house_prices import make_data as house_prices
from src.core.dataset_config import Task
from src.core.model_registry import PARITY_PASSED
from src.pipeline.train_model import ESTIMATORS
from src.services.local.processes import REPOSITORY

OWN_CLASSIFIER, OWN_REGRESSOR = "own_estimator:Discriminant", "own_estimator:LeastSquares"
# ONNX has no conversion of these.
ON_PYFUNC = frozenset({"hist_gradient_boosting", OWN_CLASSIFIER, OWN_REGRESSOR})
PROMOTED = "promoted"


@dataclass(frozen=True)
class Table:
    """A data set to learn.

    Attributes:
        config: the file whose ``model`` is replaced.
        task: what is learned.
        write: writes the CSV file that is learned; None for the data set that scikit-learn brings.
    """

    config: Path
    task: Task
    write: Callable[[Path], None] | None = None


TABLES = {
    "iris": Table(REPOSITORY / "config/pipeline.yaml", "classification"),
    "churn": Table(REPOSITORY / "examples/churn/pipeline.yaml", "classification", churn.write),
    "house prices": Table(REPOSITORY / "examples/house_prices/pipeline.yaml", "regression", house_prices.write),
}


@dataclass(frozen=True)
class Case:
    """An estimator by its name in the configuration, and the table that it learns."""

    estimator: str
    table: str

    @property
    def model_name(self) -> str:
        """The registered model's name."""
        return f"{self.table}-{self.estimator}".replace(" ", "_").replace(":", ".")

    @property
    def engine(self) -> str:
        """What is to serve it."""
        return "pyfunc" if self.estimator in ON_PYFUNC else "onnx"


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        case: estimator and table.
        seconds: of the training, from its start to its end.
        verdict: the gate's, or the error that ended the training.
        parity: the version's tag ``onnx.parity``: ``passed``, or why the model has no ONNX flavour.
        engine: that serves the version; empty if none does.
        compared: predictions of ``/predict``.
        equal: those of them that are scikit-learn's.
    """

    case: Case
    seconds: float
    verdict: str
    parity: str = ""
    engine: str = ""
    compared: int = 0
    equal: int = 0

    @property
    def problem(self) -> str:
        """What is not as promised; empty if everything is."""
        if self.verdict != PROMOTED:
            return f"not promoted: {self.verdict}"
        if (self.parity == PARITY_PASSED) != (self.engine == "onnx"):
            return f"served on {self.engine} although onnx.parity is {self.parity}"
        if self.engine != self.case.engine:
            return f"served on {self.engine}, not on {self.case.engine}; onnx.parity: {self.parity}"
        if not self.compared:
            return "no prediction was compared"
        if self.equal != self.compared:
            return f"{self.compared - self.equal} of {self.compared} predictions are not scikit-learn's"
        return ""


def cases() -> list[Case]:
    """Every estimator of the catalogue and an own class, on each table of its task."""
    own = {"classification": OWN_CLASSIFIER, "regression": OWN_REGRESSOR}
    return [
        Case(estimator, name)
        for name, table in TABLES.items()
        for estimator in [*(known for known, entry in ESTIMATORS.items() if entry.path(table.task)), own[table.task]]
    ]
