"""Compares the code and the packages of a client with those of the workers that run its functions."""

import functools
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from src.core.code_hash import code_sha256

PYTHON, CODE = "Python", "this project's code"
# Packages that carry tasks to workers, or whose results may depend on their version.
PACKAGES = ("distributed", "cloudpickle", "msgpack", "numpy", "pandas", "pyarrow", "onnxruntime", "scikit-learn")
SOURCE_FOLDER = Path(__file__).resolve().parents[1]
NOT_INSTALLED = "not installed"

Versions = Mapping[str, str]


@functools.cache
def versions_here() -> Versions:
    """The versions of Python, of this project's code (a hash) and of packages in this process."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {PYTHON: python, CODE: code_sha256(SOURCE_FOLDER)[:12]} | {name: _version_of(name) for name in PACKAGES}


def differences(client: Versions, worker: Versions) -> str:
    """What differs, in one line; empty if nothing does."""
    names = dict.fromkeys([*client, *worker])
    both = [(name, client.get(name, NOT_INSTALLED), worker.get(name, NOT_INSTALLED)) for name in names]
    return ", ".join(f"{name} {mine} here and {theirs} there" for name, mine, theirs in both if mine != theirs)


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return NOT_INSTALLED
