import sys
from types import ModuleType
from typing import Any

import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier

from src.core.errors import ConfigError
from src.core.model_config import ModelConfig
from src.core.own_code import OWN_PACKAGE
from src.pipeline.train_model import ESTIMATORS
from src.training.estimators import (
    Estimator,
    build_estimator,
    find_estimator,
    require_valid_values,
    require_weights,
)
from tests.support.training import config

pytestmark = pytest.mark.slow

IRIS = config().dataset
NUMBER = IRIS.model_copy(update={"classes": None})


def built(name: str = "random_forest", dataset: Any = IRIS, **params: Any) -> BaseEstimator:
    settings = ModelConfig(estimator=name, params=params)
    return build_estimator(find_estimator(settings, dataset.task, ESTIMATORS, OWN_PACKAGE), settings, dataset)


@pytest.fixture
def own_module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``src/pipeline/mine.py``, without a file."""
    module = ModuleType("src.pipeline.mine")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_catalogue_has_an_estimator_of_each_name_for_its_tasks() -> None:
    named = {name: (entry.classification, entry.regression) for name, entry in ESTIMATORS.items()}
    assert all(any(paths) for paths in named.values())
    found = {name: type(built(name)).__name__ for name, (path, _) in named.items() if path}
    assert found == {
        "random_forest": "RandomForestClassifier",
        "extra_trees": "ExtraTreesClassifier",
        "gradient_boosting": "GradientBoostingClassifier",
        "hist_gradient_boosting": "HistGradientBoostingClassifier",
        "logistic_regression": "LogisticRegression",
        "xgboost": "XGBClassifier",
    }
    found = {name: type(built(name, NUMBER)).__name__ for name, (_, path) in named.items() if path}
    assert found == {
        "random_forest": "RandomForestRegressor",
        "extra_trees": "ExtraTreesRegressor",
        "gradient_boosting": "GradientBoostingRegressor",
        "hist_gradient_boosting": "HistGradientBoostingRegressor",
        "ridge": "Ridge",
        "xgboost": "XGBRegressor",
    }


@pytest.mark.parametrize("name", [name for name, entry in ESTIMATORS.items() if entry.classification])
def test_a_seed_is_fixed_unless_the_configuration_gives_one(name: str) -> None:
    assert built(name).get_params()["random_state"] == 42
    assert built(name, random_state=7).get_params()["random_state"] == 7


def test_parameters_go_before_the_catalogue_s_and_those_before_the_class_s() -> None:
    assert built().get_params() == RandomForestClassifier(n_jobs=-1, random_state=42).get_params()
    own = built(n_jobs=2, max_depth=3).get_params()
    assert (own["n_jobs"], own["max_depth"], own["n_estimators"]) == (2, 3, 100)
    assert built("logistic_regression").get_params()["max_iter"] == 1000


@pytest.mark.parametrize(
    ("name", "dataset", "message"),
    [
        ("random_forrest", IRIS, r"no such name 'random_forrest'; did you mean 'random_forest'\?.*below src/pipeline"),
        ("zzz", IRIS, r"it is one of random_forest, extra_trees, .*, or module:Class"),
        ("ridge", IRIS, r"ridge does not support classification; these do: random_forest, .*logistic_regression"),
        ("logistic_regression", NUMBER, r"does not support regression; these do: random_forest, .*ridge, xgboost$"),
        ("nowhere:Model", IRIS, r"src\.pipeline\.nowhere:Model: there is no module src\.pipeline\.nowhere"),
        ("features:Model", IRIS, r"src\.pipeline\.features has no class 'Model'"),
        ("features:transformers", IRIS, "is not an estimator"),
        ("src.pipeline.features:DatasetConfig", IRIS, "is not an estimator"),
    ],
)
def test_estimator_that_does_not_exist_is_refused(name: str, dataset: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        built(name, dataset)


def test_estimator_of_a_group_that_is_not_installed_names_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(
        ConfigError, match=r"package xgboost, which is not installed.*group xgboost.*TRAIN_EXTRA_GROUPS"
    ):
        built("xgboost")


def test_own_class_is_found_below_the_package(own_module: ModuleType) -> None:
    class Mine(ClassifierMixin, BaseEstimator):
        def __init__(self, share: float = 0.5) -> None:
            self.share = share

        fit = predict = print

    own_module.Mine = Mine  # type: ignore[attr-defined]
    for name in ("mine:Mine", "src.pipeline.mine:Mine"):
        assert built(name, share=0.1).get_params() == {"share": 0.1}
    with pytest.raises(ConfigError, match=r"no parameter 'shar' \(did you mean 'share'\?\)"):
        built("mine:Mine", shar=0.1)


def test_fitted_object_in_place_of_a_class_is_refused(own_module: ModuleType) -> None:
    own_module.model = RandomForestClassifier()  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"src\.pipeline\.mine:model is not an estimator"):
        built("mine:model")


def test_own_class_without_defaults_or_that_refuses_a_value_is_refused(own_module: ModuleType) -> None:
    class Strict(ClassifierMixin, BaseEstimator):
        def __init__(self, share: float = 0.5) -> None:
            if share > 1:
                raise ValueError("share must be at most 1")
            self.share = share

        fit = predict = print

    class Needs(Strict):
        def __init__(self, share: float) -> None:
            super().__init__(share)

    own_module.Strict, own_module.Needs = Strict, Needs  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"model\.params: share must be at most 1"):
        built("mine:Strict", share=2)
    with pytest.raises(ConfigError, match=r"model\.params: '>' not supported"):
        built("mine:Strict", share="half")
    with pytest.raises(ConfigError, match="Needs needs a default for each of its parameters"):
        built("mine:Needs", share=1)


@pytest.mark.parametrize("name", ["random_forest", "logistic_regression", "xgboost"])
def test_unknown_parameter_is_refused_with_what_was_meant(name: str) -> None:
    with pytest.raises(
        ConfigError, match=r"model\.params: the estimator has no parameter 'randomstate' \(did you mean 'random_state'"
    ) as error:
        built(name, randomstate=3)
    assert str(error.value).endswith("; model.params belongs to model.estimator and must be replaced with it")


def test_searched_parameters_are_checked_as_well() -> None:
    settings = ModelConfig.model_validate({"search": {"params": {"max_deep": [1, 2]}}})
    with pytest.raises(ConfigError, match=r"model\.search\.params: .*'max_deep' \(did you mean 'max_depth'\?\)"):
        build_estimator(ESTIMATORS["random_forest"], settings, IRIS)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("random_forest", {"max_depth": 0}, "RandomForestClassifier: The 'max_depth' parameter .* must be an int"),
        ("random_forest", {"n_estimators": 0}, "The 'n_estimators' parameter"),
        ("random_forest", {"n_estimators": "many"}, "The 'n_estimators' parameter"),
        ("extra_trees", {"criterion": "jinni"}, "The 'criterion' parameter"),
        ("gradient_boosting", {"learning_rate": -1.0}, "The 'learning_rate' parameter"),
        ("hist_gradient_boosting", {"max_iter": 0}, "The 'max_iter' parameter"),
        ("logistic_regression", {"C": "big"}, "The 'C' parameter"),
        ("xgboost", {"max_depth": "deep"}, "XGBClassifier: Invalid Parameter format for max_depth"),
        ("xgboost", {"n_estimators": "many"}, "XGBClassifier: 'str' object"),
    ],
)
def test_wrong_value_is_refused(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.params: .*{message}"):
        require_valid_values(built(name, **params), IRIS)


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_default_values_pass(name: str) -> None:
    for dataset in (IRIS, NUMBER):
        if ESTIMATORS[name].path(dataset.task):
            require_valid_values(built(name, dataset), dataset)


def test_trial_fit_is_small_and_ignores_errors_about_synthetic_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    fits: list[tuple[int, tuple[int, ...]]] = []
    real = RandomForestClassifier.fit

    def fit(self: Any, rows: Any, target: Any) -> Any:
        fits.append((self.n_estimators, rows.shape))
        return real(self, rows, target)

    monkeypatch.setattr(RandomForestClassifier, "fit", fit)
    # A list by column suits the real columns only.
    require_valid_values(built(n_estimators=10_000, monotonic_cst=[1, 0, 0, 0]), IRIS)
    assert fits == [(3, (36, 3))]


def test_entry_has_a_path_for_each_task() -> None:
    entry = Estimator("a:B", None)
    assert (entry.path("classification"), entry.path("regression")) == ("a:B", None)


def test_estimators_that_can_weight_rows_are_suggested() -> None:
    catalogue = {
        "neighbours": Estimator("sklearn.neighbors:KNeighborsClassifier", "sklearn.neighbors:KNeighborsRegressor"),
        "trees": Estimator("sklearn.tree:DecisionTreeClassifier", "sklearn.tree:DecisionTreeRegressor"),
        "lines": Estimator(None, "sklearn.linear_model:Ridge"),
        "missing": Estimator("no_such_package:Classifier", None, group="extra"),
    }
    dataset = config(dataset={"feedback": {"use": True, "weight": 0.5}}).dataset
    settings = ModelConfig(estimator="neighbours")
    with pytest.raises(ConfigError, match=r"no sample_weight, so that all rows count alike; .* to one of trees$"):
        require_weights(settings, dataset, catalogue["neighbours"], catalogue)
    number = dataset.model_copy(update={"classes": None})
    with pytest.raises(ConfigError, match=r"to one of trees, lines$"):
        require_weights(settings, number, catalogue["neighbours"], catalogue)
    require_weights(settings, IRIS, catalogue["neighbours"], catalogue)
    require_weights(settings, dataset, catalogue["trees"], catalogue)
