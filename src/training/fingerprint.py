"""The fingerprint of a training: equal where the data, the settings, the code and the packages are the same."""

import hashlib
import json
from pathlib import Path

from src.core.code_hash import code_sha256
from src.core.errors import ConfigError
from src.core.pipeline_config import PipelineConfig

# The sections that decide what is learned and whether it passes the gate; ``report`` and ``retention`` change neither,
# nor does who promotes what has passed.
SECTIONS = {"dataset", "split", "model", "gate"}
WITHOUT = {"gate": {"approval"}}
# The exact version of every package; in the repository's root and in the training image.
LOCK_FILE = Path(__file__).resolve().parents[2] / "uv.lock"


def fingerprint_of(data_sha256: str, config: PipelineConfig, code: Path, lock_file: Path = LOCK_FILE) -> str:
    """The SHA-256, in hexadecimal, of everything that decides a training's result.

    Args:
        data_sha256: of the validated data set.
        config: as in the file, without values learned from the data.
        code: the folder of the adopter's code, ``src/pipeline``.
        lock_file: names the installed packages.

    Raises:
        ConfigError: the code or the lock file cannot be read.
    """
    try:
        parts = {
            "data": data_sha256,
            "config": config.model_dump(mode="json", include=SECTIONS, exclude=WITHOUT),
            "code": code_sha256(code),
            "packages": hashlib.sha256(lock_file.read_bytes()).hexdigest(),
        }
    except OSError as error:
        raise ConfigError(f"cannot read {error.filename} ({error.strerror}); restore it from the repository") from error
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
