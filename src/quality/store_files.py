"""Where the files of a store are: in a folder, or in a bucket with copies in the folder."""

from collections.abc import Collection, Iterable
from pathlib import Path

from src.core.durable_file import sync_folder
from src.core.errors import ConfigError
from src.quality.bucket import Bucket
from src.quality.manifest import (
    MANIFEST_FILE,
    Manifest,
    StoredFile,
    parse_manifest,
    read_manifest,
    serialized,
    write_manifest,
)
from src.quality.parquet_files import DAY_FOLDER


class FolderFiles:
    """A store in a folder, into which its new files are written durably."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def may_exist(self) -> bool:
        """Whether anything may be stored."""
        return self.folder.is_dir()

    def prepare(self) -> None:
        """Called whenever the store is locked."""

    def read_manifest(self) -> Manifest:
        """What is stored. Raises ConfigError: it is damaged."""
        return read_manifest(self.folder)

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace it in one step."""
        write_manifest(self.folder, manifest)

    def publish(self, file: StoredFile) -> None:
        """A new file is complete in the folder; the manifest may list it afterwards."""

    def local(self, file: StoredFile) -> Path:
        """The file in the folder."""
        return self.folder / file.path

    def delete(self, files: Iterable[StoredFile]) -> None:
        """Delete files that the manifest does not list any more."""
        for file in files:
            (self.folder / file.path).unlink(missing_ok=True)

    def delete_others(self, counted: Collection[str]) -> None:
        """Delete the files that are not among these, and days without files."""
        for folder in self.folder.glob(f"{DAY_FOLDER}*"):
            for path in folder.iterdir():
                if str(path.relative_to(self.folder)) not in counted:
                    path.unlink()
            if not any(folder.iterdir()):
                folder.rmdir()


class BucketFiles(FolderFiles):
    """A store in a bucket. The folder has copies of its files, which never change, so that each is fetched once.

    Args:
        folder: the copies. A store that it has had before moves to the bucket.
        bucket: the objects of all stores.
        key: of the store in the bucket.
    """

    def __init__(self, folder: Path, bucket: Bucket, key: str) -> None:
        super().__init__(folder)
        self._bucket = bucket
        self._key = key

    @property
    def may_exist(self) -> bool:
        """A bucket may have rows that a new folder does not have yet."""
        return True

    def prepare(self) -> None:
        """Move the folder's store to the bucket, once.

        Raises:
            ConfigError: the bucket has another one already.
        """
        path = self.folder / MANIFEST_FILE
        if not path.exists():
            return
        own, stored = read_manifest(self.folder), self.read_manifest()
        if stored == Manifest():
            for file in own.files:
                self.publish(file)
            self.write_manifest(own)
        elif stored != own:  # equal after a kill
            raise ConfigError(
                f"{path} and {self._bucket.address}/{self._key} have different rows; move the one away that is not "
                "needed, and give every process the same PREDICTION_LOG_STORE"
            )
        path.unlink()
        sync_folder(self.folder)

    def read_manifest(self) -> Manifest:
        """What is stored. Raises ConfigError: it is damaged."""
        content = self._bucket.read(self._in_bucket(MANIFEST_FILE))
        return Manifest() if content is None else parse_manifest(content, f"{self._bucket.address}/{self._key}")

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace it in one step."""
        self._bucket.write(self._in_bucket(MANIFEST_FILE), serialized(manifest))

    def publish(self, file: StoredFile) -> None:
        """Copy a new file into the bucket."""
        self._bucket.upload(self.folder / file.path, self._in_bucket(file.path))

    def local(self, file: StoredFile) -> Path:
        """The copy of a file, which is fetched if it is missing or cut off."""
        path = self.folder / file.path
        if not path.exists() or path.stat().st_size != file.bytes:
            self._bucket.download(self._in_bucket(file.path), path)
        return path

    def delete(self, files: Iterable[StoredFile]) -> None:
        """Delete files that the manifest does not list any more, and their copies."""
        for file in files:
            self._bucket.delete(self._in_bucket(file.path))
            super().delete([file])

    def delete_others(self, counted: Collection[str]) -> None:
        """Delete the objects and copies that are not among these, and days without files."""
        for path in self._bucket.keys(self._key):
            if path.startswith(DAY_FOLDER) and path not in counted:
                self._bucket.delete(self._in_bucket(path))
        days = {path.partition("/")[0] for path in counted}
        for name in self._bucket.folders(self._key):
            if name.startswith(DAY_FOLDER) and name not in days:
                self._bucket.delete_folder(self._in_bucket(name))
        super().delete_others(counted)

    def _in_bucket(self, path: str) -> str:
        return f"{self._key}/{path}"
