"""One cache folder between real processes, as replicas share it."""

import subprocess
import sys
from pathlib import Path

import pytest

from src.services.local.processes import REPOSITORY
from src.serving.models.model_cache import ModelCache
from tests.unit.serving.models.test_model_cache import adopt, version

pytestmark = pytest.mark.slow

HEAD = """
import pathlib, random, sys
from src.serving.models.model_cache import ModelCache
from tests.unit.serving.models.test_model_cache import version
cache = ModelCache(pathlib.Path(sys.argv[1]), "iris")
cache.create()
"""
DOWNLOADER = HEAD + "print(cache.stage(), flush=True); sys.stdin.read()"
# A replica's life in fast motion. Each of the two files of an entry tells its version. Nothing may fail but a read of
# what is gone, and what is read belongs together.
REPLICA = (
    HEAD
    + """
chance = random.Random(int(sys.argv[2]))
for _ in range(400):
    number = chance.randint(1, 5)
    entry = cache.entry(version(number))
    if not entry.exists():
        staged = cache.stage()
        for name in ("manifest", "model"):
            (staged / name).write_text(str(number))
        entry = cache.adopt(staged, version(number))
    try:
        read = [(entry / name).read_text() for name in ("manifest", "model")]
        assert read == [str(number)] * 2, (number, read)
    except FileNotFoundError:
        pass
    cache.write_current(version(number))
    assert cache.read_current() is not None
    if chance.random() < 0.1:
        cache.drop(entry)
    if chance.random() < 0.2:
        cache.create()
"""
)


def start(script: str, root: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(root), *map(str, arguments)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_download_is_left_alone_as_long_as_its_process_lives(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path, "iris")
    with start(DOWNLOADER, tmp_path) as downloader:
        assert downloader.stdout is not None
        staged = Path(downloader.stdout.readline().strip())
        (staged / "part").touch()
        cache.create()
        assert (staged / "part").exists()
        downloader.kill()
        downloader.wait()
    cache.create()
    assert list(tmp_path.iterdir()) == []


def test_replicas_on_one_folder_never_fail_and_never_read_a_mixture(tmp_path: Path) -> None:
    replicas = [start(REPLICA, tmp_path, seed) for seed in range(4)]
    for replica in replicas:
        _, errors = replica.communicate(timeout=120)
        assert (replica.returncode, errors) == (0, "")
    cache = ModelCache(tmp_path, "iris")
    assert not list(tmp_path.glob("tmp-*"))
    for number in (7, 8, 9):
        adopt(cache, number)
    cache.write_current(version(9))
    assert cache.read_current() == version(9)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 3
