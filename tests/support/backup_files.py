"""Backups for tests: small ones that are whole, and ones that are not."""

import io
import shutil
import tarfile
from pathlib import Path

from src.services.stack.archive_writer import new_archive
from src.services.stack.backup_manifest import DATABASE, SECRETS, Manifest, member_of

DUMP = b"CREATE DATABASE zenml;\n-- Dump completed on 2026-11-29  0:30:00\n"
IMAGES = {
    "mysql": "mysql:9.7",
    "zenml": "zenmldocker/zenml-server:0.98.0",
    "mlflow": "ghcr.io/mlflow/mlflow:v3.17.2-full",
}
MANIFEST = Manifest("2026-11-29T00:30:00Z", "loop", IMAGES, {"iris": {"champion": "3", "previous": "2"}})


def tar_of(*members: tarfile.TarInfo | str) -> bytes:
    """A tar file with these members, a name being a small file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = 5 if info.isreg() else 0
            tar.addfile(info, io.BytesIO(b"words") if info.isreg() else None)
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """A tar member that is no file, such as ``tarfile.SYMTYPE`` to ``target``."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def backup(folder: Path, *, without: str = "", manifest: Manifest = MANIFEST, **contents: bytes) -> Path:
    """A backup in ``folder``: ``contents`` are the members' by volume (also ``mysql``, the dump, and ``secrets``)."""
    sealed = contents.pop("secrets", None)
    volumes = {
        "data": tar_of("./retrain/new/one.json"),
        "mlflow": tar_of("./1/models"),
        "zenml": tar_of("./config.yaml"),
    }
    members = {DATABASE: contents.pop("mysql", DUMP)}
    members.update({member_of(name): content for name, content in {**volumes, **contents}.items()})
    with new_archive(folder) as new:
        for name, content in members.items():
            if name != without:
                with new.compressed(name) as target:
                    shutil.copyfileobj(io.BytesIO(content), target)
        if sealed is not None:
            new.add(SECRETS, sealed)
        new.finish(manifest)
        return new.commit("backup.tar")
