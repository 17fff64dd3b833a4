"""The MLflow contract between training and serving: names, aliases, tags, and the files inside a model."""

import hashlib
import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from src.core.errors import InvalidModelError

# Aliases of the registered model.
CHAMPION = "champion"  # the served version
CHALLENGER = "challenger"  # the newest candidate
PREVIOUS = "previous"  # the target of a rollback
BEST = "best"  # the best champion so far; later ones may be worse by at most the gate's tolerance

# Tags on the MLflow run and on the model version.
TAG_VERDICT = "gate.verdict"  # promoted | passed | rejected
TAG_REASON = "gate.reason"
TAG_REQUEST_IDS = "retrain.request_ids"  # comma-separated
TAG_DATA_SHA256 = "data.sha256"
TAG_FINGERPRINT = "training.fingerprint"  # on the version only: equal where data, settings, code and packages are
TAG_SCORE = "score."  # on the version only, followed by the metric's name: a score of the gate
TAG_PARITY = "onnx.parity"  # passed, or why the model has no ONNX flavour
TAG_MANIFEST_SHA256 = "manifest.sha256"  # on the version only: the digest of its manifest file
TAG_ZENML_RUN_ID = "zenml.run_id"
# On a version that was rolled back: when (ISO 8601, UTC), to which version, and by whom.
TAG_ROLLBACK_AT = "rollback.at"
TAG_ROLLBACK_TO = "rollback.to"
TAG_ROLLBACK_BY = "rollback.by"
TAGS_ROLLBACK = (TAG_ROLLBACK_AT, TAG_ROLLBACK_TO, TAG_ROLLBACK_BY)
# On a version that becomes champion: the version to which the alias previous moves next. MLflow moves one alias at a
# time; if the champion still has this tag, the next promotion or rollback completes the move.
TAG_PENDING_PREVIOUS = "pending.previous"

PARITY_PASSED = "passed"

# MLflow refuses "/" and ":" in the name of a registered model. A quotation mark would end it in MLflow's searches, and
# `sha256sum` escapes a backslash in the name of a file.
NAME_FORBIDS = frozenset('/:"\\')
# The data set's file is named after the model.
MAX_NAME_BYTES = 200

# Files in the model's directory, in addition to MLflow's own.
MLMODEL_FILE = "MLmodel"
MANIFEST_FILE = "manifest.json"
ONNX_FILE = "model.onnx"  # where the MLmodel lists the flavour onnx
SKOPS_FILE = "model.skops"
GOLDEN_FILE = "golden_rows.json"
DRIFT_FILE = "drift_reference.json"
SPLIT_FILE = "split_rule.json"  # the rule that held out rows; older models have none
# The manifest that a reader writes for a downloaded version without one.
LOCAL_MANIFEST_FILE = ".downloaded.json"
# Python's compiled code.
BYTECODE_FOLDER = "__pycache__"
# Key in the MLmodel's metadata: class names in the order of the probabilities.
METADATA_CLASSES = "classes"
# Key in the MLmodel's metadata: the threshold, if any, as {"class": name, "probability": minimum}.
METADATA_THRESHOLD = "threshold"
# Key in the MLmodel's metadata: by column, what the signature cannot express; see ``core.mlmodel``.
METADATA_COLUMNS = "column_rules"

# Key in the MLmodel's metadata of a model with classes of src/pipeline: that folder's SHA-256.
METADATA_CODE = "code_sha256"

# Types that skops may create when it loads a model, in addition to its own list of safe types: parts of estimators that
# only hold numbers. MLflow trusts the list in the model's own file, which an attacker could change; this list is fixed.
SKOPS_TRUSTED_TYPES = (
    "numpy.dtype",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels.ConstantKernel",
    "sklearn.gaussian_process.kernels.Product",
    "sklearn.gaussian_process.kernels.RBF",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
    # XGBoost's own format of trees, which its library parses.
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRegressor",
)


def checked_model_name(name: str) -> str:
    """The name, if a registered model can have it in MLflow and here.

    Raises:
        ValueError: it cannot; the message states the form.
    """
    if not name.isprintable() or name in {"", "."} or name.startswith("..") or set(name) & NAME_FORBIDS:
        raise ValueError(
            "a registered model's name must consist of printable characters other than / : \\ and double quotes, and "
            "must neither be a point nor start with two"
        )
    if len(name.encode()) > MAX_NAME_BYTES:
        raise ValueError(f"a registered model's name must have at most {MAX_NAME_BYTES} bytes in UTF-8")
    return name


def versions_filter(name: str) -> str:
    """The filter of MLflow's search for a registered model's versions."""
    return f'name = "{name}"'


def says_missing(error_code: object, message: object) -> bool:
    """Whether an MLflow error means that a registered model, or an alias of it, does not exist.

    For a model it is 404 RESOURCE_DOES_NOT_EXIST, for an alias 400 INVALID_PARAMETER_VALUE.
    """
    text = str(message)
    no_alias = error_code == "INVALID_PARAMETER_VALUE" and "alias" in text and text.endswith("not found.")
    return error_code == "RESOURCE_DOES_NOT_EXIST" or no_alias


class DriftReference(BaseModel):
    """The distribution of ``rows`` training rows, with which live rows are compared.

    ``edges`` are the inner edges of a number's bins (a value equal to an edge belongs to the bin on its left) and
    ``shares`` the bins' shares, one more than edges; ``category_shares`` are the shares of other columns by value, and
    ``bucket_shares`` those of columns with very many values by ``category_keys.bucket_of``: all of the values that are
    not missing. ``missing`` is the share that is; ``minimum`` and ``maximum`` bound the numbers; ``class_shares`` are
    the classes' shares, and ``predicted_shares`` those among the model's predictions for ``predicted_rows`` rows that
    it was not trained on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    edges: dict[str, list[float]]
    shares: dict[str, list[float]]
    category_shares: dict[str, dict[str, float]] = {}
    bucket_shares: dict[str, list[float]] = {}
    missing: dict[str, float] = {}
    minimum: dict[str, float]
    maximum: dict[str, float]
    class_shares: dict[str, float]
    predicted_rows: int = 0
    predicted_shares: dict[str, float] = {}


def sha256_file(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(directory: Path, name: str = MANIFEST_FILE) -> str:
    """List every file below the model's directory with its SHA-256; return the manifest's own SHA-256."""
    files = {file: sha256_file(directory / file) for file in _files_of(directory) if file != name}
    manifest = directory / name
    manifest.write_text(json.dumps({"sha256": files}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return sha256_file(manifest)


def _files_of(directory: Path) -> list[str]:
    """The files of a model, relative to its directory, without compiled Python code."""
    paths = (path.relative_to(directory) for path in sorted(directory.rglob("*")) if path.is_file())
    return [path.as_posix() for path in paths if BYTECODE_FOLDER not in path.parts]


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sha256: dict[str, str]


def verify_manifest(
    directory: Path, manifest_sha256: str | None, needed: tuple[str, ...], name: str = MANIFEST_FILE
) -> set[str]:
    """Check the manifest against its registered digest, then every file that is here against the manifest.

    Args:
        directory: a model's directory, complete or with only some downloaded files.
        manifest_sha256: the ``manifest.sha256`` tag of the model version; None for a manifest written by the reader.
        needed: files, relative to the directory, that must be present.
        name: the manifest's file name.

    Returns:
        All files that the manifest lists.

    Raises:
        InvalidModelError: naming the first file that is missing, unlisted or changed.
    """
    manifest = directory / name
    if not manifest.is_file() or manifest_sha256 not in {None, sha256_file(manifest)}:
        raise InvalidModelError(f"{name} is missing or not the one that was registered")
    try:
        listed = _Manifest.model_validate_json(manifest.read_bytes()).sha256
    except ValidationError as error:
        raise InvalidModelError(f"{name} is not a manifest") from error
    for file in needed:
        if file not in listed or not (directory / file).is_file():
            raise InvalidModelError(f"{file} is missing")
    for file in _files_of(directory):
        if file != name and listed.get(file) != sha256_file(directory / file):
            raise InvalidModelError(f"{file} differs from the manifest")
    return set(listed)
