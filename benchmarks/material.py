"""The model that every server serves and the rows of the requests, created once by the project's own code."""

import hashlib
import json
import logging
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers.server import Rows
from src.core.pipeline_config import load_pipeline_config
from src.services.local.processes import REPOSITORY
from src.serving.models.model_cache import ModelCache
from src.serving.models.model_version import ModelVersion

CONFIG_FILE = REPOSITORY / "config/pipeline.yaml"
MODEL_NAME = "iris"
ROWS = 1000
SEED = 20


@dataclass(frozen=True)
class Material:
    """The model and the rows of a run.

    Attributes:
        folder: contains the model in every form.
        columns: the model's columns.
        rows: ``ROWS`` rows within the training rows' ranges.
        labels: scikit-learn's label of each.
    """

    folder: Path
    columns: tuple[str, ...]
    rows: Rows
    labels: list[str]

    @property
    def model(self) -> Path:
        """The folder of the MLflow model."""
        return self.folder / "model"

    @property
    def pipeline(self) -> Path:
        """The same model, pickled for servers that support scikit-learn only."""
        return self.folder / "model.joblib"

    @property
    def cache(self) -> Path:
        """The same model in this service's cache."""
        return self.folder / "cache"

    def take(self, count: int) -> Rows:
        """So many rows, starting again from the first if necessary."""
        return (self.rows * (count // len(self.rows) + 1))[:count]


def prepare(folder: Path) -> Material:
    """The material below the folder; created again when its sources have changed."""
    place = folder / _key()
    if not (place / "rows.json").exists():
        staged = folder / f"{place.name}.part"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        _make(staged)
        for old in folder.iterdir():
            if old != staged:
                shutil.rmtree(old)
        staged.rename(place)
    kept = json.loads((place / "rows.json").read_text())
    return Material(place, tuple(kept["columns"]), kept["rows"], kept["labels"])


def _key() -> str:
    """Changes with the configuration, the training code and the locked versions."""
    sources = [CONFIG_FILE, REPOSITORY / "uv.lock", Path(__file__)]
    for package in ("core", "training", "pipeline"):
        sources += sorted((REPOSITORY / "src" / package).glob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]


def _make(folder: Path) -> None:
    """Train, package, and write every form of the model, and scikit-learn's predictions."""
    import joblib  # noqa: PLC0415 - slow imports, needed only if the material is missing
    import pandas as pd  # noqa: PLC0415
    from mlflow.models import Model  # noqa: PLC0415

    from src.pipeline import data_preprocess, train_model  # noqa: PLC0415
    from src.training.package_model import Flavours, build_package  # noqa: PLC0415
    from src.training.splitting import split_rows  # noqa: PLC0415

    # It warns that the environment has no pip, which no server needs.
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    config = load_pipeline_config(CONFIG_FILE)
    target = config.dataset.target
    frame = data_preprocess.prepare(config.dataset).frame
    parts = split_rows(frame, config, None)
    train = parts.train
    model = train_model.fit(train, config.model, config.dataset)
    flavours = Flavours(build_package(model, train, parts.holdout, config.dataset, parts.rule))
    flavours.save_model(str(folder / "model"), Model())
    joblib.dump(model, folder / "model.joblib")
    _fill_cache(folder, flavours.manifest_sha256)

    features = train.drop(columns=target)
    bounds = list(zip(features.min(), features.max(), strict=True))
    numbers = random.Random(SEED)  # noqa: S311 - not for secrets
    rows = [[round(numbers.uniform(low, high), 1) for low, high in bounds] for _ in range(ROWS)]
    labels = model.predict(pd.DataFrame(rows, columns=features.columns)).tolist()
    kept = {"columns": list(features.columns), "rows": rows, "labels": labels}
    (folder / "rows.json").write_text(json.dumps(kept))


def _fill_cache(folder: Path, manifest_sha256: str) -> None:
    cache = ModelCache(folder / "cache", MODEL_NAME)
    cache.create()
    version = ModelVersion(name=MODEL_NAME, version="1", manifest_sha256=manifest_sha256)
    staged = cache.stage()
    shutil.copytree(folder / "model", staged, dirs_exist_ok=True)
    cache.adopt(staged, version)
    cache.write_current(version)
