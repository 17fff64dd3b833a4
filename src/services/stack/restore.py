"""Brings the stack of a backup to this machine: ``make restore FILE=…``."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from src.services.stack import database, dotenv_text, secrets_member
from src.services.stack.archive_reader import Archive
from src.services.stack.backup_manifest import DATABASE, SECRETS, VOLUMES, Manifest, member_of
from src.services.stack.checkout import REPOSITORY, Checkout
from src.services.stack.command import run_command, say
from src.services.stack.compose_config import PROJECT, Stack
from src.services.stack.containers import RUNNING, build, containers, create, existing_volumes, start_mysql
from src.services.stack.docker_checks import check_docker
from src.services.stack.errors import StackError
from src.services.stack.ports import beside
from src.services.stack.run_setup import ADMIN, Setup

# Servers whose databases an older release cannot read.
_VERSIONED = ("mysql", "zenml", "mlflow")
# Variables of .env that decide which stack docker compose works on.
_DECIDING = (PROJECT, "COMPOSE_FILE", "COMPOSE_PATH_SEPARATOR", "COMPOSE_PROFILES")
_BUILDING = "==> building images (the first time, this takes minutes)"


def main(arguments: list[str]) -> int:
    """The command; returns 0, 1 (see the error), 2 (wrong arguments) or 130 (interrupted)."""
    parser = argparse.ArgumentParser(
        prog="python3 -m src.services.stack.restore",
        description="Fill the volumes of a stack that is not on this machine yet from a backup. Next: make up, which "
        "make restore runs by itself.",
        epilog="Exit codes: 0 restored, 1 not restored, 2 wrong arguments, 130 interrupted.",
    )
    parser.add_argument("file", help="the backup")
    parser.add_argument("--secrets", action="store_true", help="write its .env, with BACKUP_PASSPHRASE")
    options = parser.parse_args(arguments)

    def restore() -> None:
        if not options.file:
            raise StackError("FILE= is missing: make restore FILE=backups/….tar")
        checkout = Checkout(REPOSITORY, os.environ)
        Restore(checkout, Archive(Path(options.file)), say).run(secrets=options.secrets)

    return run_command(restore, resume="to start again, follow docs/backup.md")


class Restore:
    """Fills the volumes of the stack in ``checkout`` from ``archive``."""

    def __init__(self, checkout: Checkout, archive: Archive, say: Callable[[str], None]) -> None:
        self._checkout = checkout
        self._archive = archive
        self._say = say

    def run(self, *, secrets: bool) -> None:
        """Check everything, then restore; afterwards all containers are stopped.

        Raises:
            StackError: the machine is as before, or the message names the command that makes it so.
        """
        started = time.monotonic()
        environment = self._checkout.environment
        passphrase = secrets_member.passphrase_of(environment) if secrets else ""
        check_docker(self._checkout.docker(), environment)
        new = self._checkout.env_file.read() is None
        if secrets and not new:
            raise StackError("there is a .env already; move it away, or restore without SECRETS=1 to use it")
        stack = self._checkout.docker().stack()
        self._refuse_existing(stack, secrets=secrets)
        manifest = self._archive.check()
        self._refuse_older(stack, manifest)
        self._say(f"==> the backup of {manifest.project} of {manifest.created} is whole")
        if secrets:
            self._write_env(stack, manifest, passphrase)
        elif new:
            self._checkout.env_file.update(self._set_here(stack))
        Setup(self._checkout.folder, environment, self._say, threading.Event().wait).prepare()
        stack = self._checkout.docker().stack()
        self._say(_BUILDING)
        build(self._checkout.docker())
        self._refuse_existing(stack)  # again: a build takes minutes, in which a stack may have been started
        try:
            self._fill(stack, manifest)
        except BaseException:
            self._say(f"==> incomplete; before the next try: {stack.deletion}")
            raise
        self._say(f"==> champion: {manifest.champions()}")
        self._say(f"==> restored in {time.monotonic() - started:.0f} s; next: make up")

    def _refuse_existing(self, stack: Stack, *, secrets: bool = False) -> None:
        another = self._beside(stack) if secrets else "choose another COMPOSE_PROJECT_NAME and ports in .env"
        docker = self._checkout.docker()
        running = sorted(name for name, found in containers(docker, stack).items() if found.state in RUNNING)
        if running:
            raise StackError(
                f"the stack {stack.name} runs here ({', '.join(running)}), and a restore does not replace it; "
                f"{another}; or delete the stack with all its data: {stack.deletion}"
            )
        kept = existing_volumes(docker, stack)
        if kept:
            raise StackError(
                f"the stack {stack.name} has data here ({', '.join(kept)}), and a restore does not replace them; "
                f"{another}; or start that stack with make up; or delete it with all its data: {stack.deletion}"
            )

    def _beside(self, stack: Stack) -> str:
        """The command that restores beside a stack; with SECRETS=1 no .env exists that could hold these variables."""
        variables = " ".join(f"{name}={value}" for name, value in beside(stack).items())
        command = f"make restore FILE={shlex.quote(str(self._archive.path))} SECRETS=1"
        return f"give another name and ports in the environment: {variables} {command}"

    def _set_here(self, stack: Stack) -> dict[str, str]:
        """The name and ports that the environment sets; in ``.env``, they hold in other shells too."""
        environment = self._checkout.environment
        values = {name: value for name, value in stack.own_variables().items() if name in environment}
        if values:
            listed = " ".join(f"{name}={value}" for name, value in values.items())
            self._say(f"==> .env gets the values of the environment: {listed}")
        return values

    def _refuse_older(self, stack: Stack, manifest: Manifest) -> None:
        """No server reads the database of a newer release."""
        here = stack.pinned_images()
        for service in _VERSIONED:
            old, new = manifest.images.get(service, ""), here.get(service, "")
            if _version(old) > _version(new):
                raise StackError(
                    f"the backup is of a stack with {old}, and this checkout has {new}; use that stack's checkout"
                )

    def _write_env(self, stack: Stack, manifest: Manifest, passphrase: str) -> None:
        if SECRETS not in manifest.members:
            raise StackError("the backup has no secrets; restore it without SECRETS=1, and new ones are made")
        self._say(_BUILDING)
        build(self._checkout.docker(), "train-model")
        text = secrets_member.unseal(self._checkout.docker(), stack, self._archive.content(SECRETS), passphrase)
        # The restored file names a stack of its own, unless the environment does.
        named = {name: value for name, value in dotenv_text.values(text).items() if name in _DECIDING}
        target = Checkout(self._checkout.folder, {**named, **self._checkout.environment}).docker().stack()
        self._refuse_existing(target, secrets=True)
        self._checkout.env_file.create(dotenv_text.with_values(text, self._set_here(target)))
        self._say("==> .env: restored")

    def _fill(self, stack: Stack, manifest: Manifest) -> None:
        docker = self._checkout.docker()
        volumes = {volume: stack.mount(service, volume) for volume, service in VOLUMES.items()}
        wanted = {volume: path for volume, path in volumes.items() if path and member_of(volume) in manifest.members}
        create(docker, ["mysql", *(VOLUMES[volume] for volume in wanted)])
        made = containers(docker, stack)
        for volume, path in wanted.items():
            target = f"{made[VOLUMES[volume]].id}:{path}"
            with self._archive.uncompressed(member_of(volume)) as source, docker.piped("cp", "-", target) as pipes:
                shutil.copyfileobj(source, pipes.input)
            self._say(f"==> {volume}: restored")
        start_mysql(docker)
        with self._archive.uncompressed(DATABASE) as source:
            database.read_in(docker, source)
        database.set_admin_password(docker, ADMIN)
        self._say("==> databases: restored")
        stored = database.query(docker, "SELECT COUNT(*) FROM zenml.secret")[0][0]
        if stored != "0":
            self._say(
                f"warning: ZenML stores {stored} secrets; only with the ZENML_SECRETS_ENCRYPTION_KEY of the backed-up "
                "stack's .env can it read them"
            )
        if "grafana" in wanted:
            self._say("==> Grafana keeps the passwords of the backup; docs/backup.md says how to set another one")


def _version(image: str) -> tuple[int, ...]:
    """The numbers of an image's tag, such as (3, 17, 2) of mlflow:v3.17.2-full; its digest does not count."""
    _, _, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
    match = re.match(r"v?(\d+(?:\.\d+)*)", tag)
    return tuple(int(part) for part in match.group(1).split(".")) if match else ()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
