"""Writes one archive with everything that the stack remembers: ``make backup``."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from src.services.stack import database, secrets_member
from src.services.stack.archive_reader import Archive
from src.services.stack.archive_writer import ArchiveWriter, new_archive
from src.services.stack.backup_manifest import DATABASE, LEFT_OUT, SECRETS, VOLUMES, Manifest, member_of
from src.services.stack.checkout import REPOSITORY, Checkout
from src.services.stack.command import run_command, say
from src.services.stack.compose_config import Stack
from src.services.stack.containers import at_rest, containers, existing_volumes
from src.services.stack.docker_checks import check_docker
from src.services.stack.errors import StackError
from src.services.stack.needed_containers import NeededContainers
from src.services.stack.training_hold import without_training
from src.services.stack.volume_files import copy_files

FOLDER = "backups"


def main(arguments: list[str]) -> int:
    """The command; returns 0, 1 (no backup was written), 2 (wrong arguments) or 130 (interrupted)."""
    parser = argparse.ArgumentParser(
        prog="python3 -m src.services.stack.backup",
        description="Write one archive with the stack's databases, models, data and retrain requests. Meanwhile "
        "predictions are answered as usual; retrain requests are accepted and wait.",
        epilog="Exit codes: 0 written, 1 not written, 2 wrong arguments, 130 interrupted.",
    )
    parser.add_argument("--folder", type=Path, help=f"where to write it (default: {FOLDER}, with mode 0700)")
    parser.add_argument("--secrets", action="store_true", help="with .env, encrypted with BACKUP_PASSPHRASE")
    parser.add_argument(
        "--wait-minutes", type=float, default=60, help="how long to wait for a training to end (default: 60)"
    )
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a stop from outside cleans up as Ctrl-C does
    folder = options.folder.absolute() if options.folder else None
    backup = Backup(Checkout(REPOSITORY, os.environ), folder, say)
    return run_command(
        lambda: backup.run(secrets=options.secrets, wait_seconds=60 * options.wait_minutes),
        resume="no backup was written, and the stack runs on",
    )


class Backup:
    """Writes an archive of the stack in ``checkout`` to ``folder``, or to its own folder for backups."""

    def __init__(self, checkout: Checkout, folder: Path | None, say: Callable[[str], object]) -> None:
        self._checkout = checkout
        self._docker = checkout.docker()
        self._folder = folder
        self._say = say

    def run(self, *, secrets: bool, wait_seconds: float) -> Path:
        """Write and check an archive; return its path.

        Raises:
            StackError: nothing was written, and the stack is as before.
        """
        passphrase = secrets_member.passphrase_of(self._checkout.environment) if secrets else ""
        check_docker(self._docker, self._checkout.environment)
        stack = self._docker.stack()
        own = self._checkout.folder / FOLDER
        with new_archive(self._folder or own, private=self._folder is None) as new:
            with self._present(stack), without_training(self._docker, stack, wait_seconds, self._say):
                started, now = time.monotonic(), time.gmtime()
                models = database.aliases(self._docker)
                self._write(stack, new)
            if secrets:
                text = self._checkout.env_file.read() or ""
                new.add(SECRETS, secrets_member.seal(self._docker, stack, text, passphrase))
            manifest = Manifest(time.strftime("%Y-%m-%dT%H:%M:%SZ", now), stack.name, stack.pinned_images(), models)
            new.finish(manifest)
            Archive(new.temporary).check()
            path = new.commit(f"{stack.name}-{time.strftime('%Y%m%dT%H%M%SZ', now)}.tar")
        size = path.stat().st_size / 1e6
        self._say(f"==> champion: {manifest.champions()}")
        self._say(f"==> {path} ({size:.1f} MB, {time.monotonic() - started:.0f} s)")
        return path

    def _write(self, stack: Stack, new: ArchiveWriter) -> None:
        """The dump comes first: whatever it names lies in the volumes, and nothing is deleted without a training."""
        with new.compressed(DATABASE) as target:
            database.dump(self._docker, target)
        self._report(new, DATABASE)
        present = containers(self._docker, stack)
        for volume, service in VOLUMES.items():
            path = stack.mount(service, volume)
            if path is None:
                self._say(f"==> without {volume}: {service} is not in COMPOSE_PROFILES")
                continue
            container = present[service]
            with (
                at_rest(self._docker, container) if service == "grafana" else contextlib.nullcontext(),
                new.compressed(member_of(volume)) as target,
                self._docker.piped("cp", f"{container.id}:{path}/.", "-") as pipes,
            ):
                copy_files(pipes.output, target, self._warn_left_out, LEFT_OUT.get(volume, ()))
            self._report(new, member_of(volume))

    def _warn_left_out(self, name: str) -> None:
        self._say(f"warning: left out, as a special file or a secret: {name}")

    def _report(self, new: ArchiveWriter, name: str) -> None:
        self._say(f"==> {name}: {new.size(name) / 1e6:.1f} MB")

    def _present(self, stack: Stack) -> contextlib.AbstractContextManager[None]:
        """The containers that are needed, with MySQL running."""
        before = containers(self._docker, stack)
        if not before and not set(stack.volumes("mysql")) <= set(existing_volumes(self._docker, stack)):
            raise StackError(f"there is no stack named {stack.name} on this machine; make up starts one")
        services = ["mysql", *(service for volume, service in VOLUMES.items() if stack.mount(service, volume))]
        return NeededContainers(self._docker, stack, services, self._say).present(before)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
