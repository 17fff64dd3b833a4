"""Models with the adopter's classes, which come from the image's copy of ``src/pipeline``, never from the registry."""

import functools
import importlib
from pathlib import Path

from src.core.code_hash import code_sha256
from src.core.errors import OtherCodeError

OWN_PACKAGE = "src.pipeline"
OWN_FOLDER = Path(__file__).resolve().parents[1] / "pipeline"


@functools.cache
def own_code_sha256() -> str | None:
    """The SHA-256 of this image's ``src/pipeline`` at the first call; None where it has no such folder.

    Cached like the imported classes: later changes of files do not affect a running process.
    """
    return code_sha256(OWN_FOLDER) if OWN_FOLDER.is_dir() else None


def is_own(type_name: str) -> bool:
    """Whether a class or function is the adopter's, by its full name.

    What a module of ``src/pipeline`` only imports is not. A name that this image lacks counts as the adopter's:
    ``require_own_code`` refuses it with what to do.
    """
    if not type_name.startswith(f"{OWN_PACKAGE}."):
        return False
    module, _, name = type_name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return True
    return str(getattr(found, "__module__", "")).startswith(f"{OWN_PACKAGE}.")


def require_own_code(sha256: str | None) -> None:
    """Require that this process has the code that a model was trained with.

    Raises:
        OtherCodeError: with what to do.
    """
    here = own_code_sha256()
    if sha256 is None:
        raise OtherCodeError("the model runs classes of src/pipeline and does not say of which code; train again")
    if here is None:
        raise OtherCodeError(
            "the model runs classes of src/pipeline, which are not installed here; build the image again from the "
            "repository (docker compose up -d --build)"
        )
    if here != sha256:
        raise OtherCodeError(
            f"the model was made with other code of src/pipeline (SHA-256 {sha256[:12]}, here {here[:12]}); build the "
            "image again from that code (make up; make local needs a restart), or train again with this code"
        )
