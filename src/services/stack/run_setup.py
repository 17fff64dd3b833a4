"""Sets up the Compose stack's secrets and ZenML's service account, step by step; one line for each."""

from __future__ import annotations

import argparse
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from src.core.misspelt import example_text, misspelt
from src.services.stack import variables
from src.services.stack.certificate import prepare_certificate
from src.services.stack.checkout import REPOSITORY, Checkout
from src.services.stack.command import run_command, say
from src.services.stack.compose_config import Stack
from src.services.stack.containers import existing_volumes
from src.services.stack.docker_checks import check_docker
from src.services.stack.errors import NoAnswerError, StackError
from src.services.stack.exposure import exposures
from src.services.stack.ports import check_ports
from src.services.stack.start_zenml import differing_passwords, start_zenml
from src.services.stack.zenml_api import RETAIN_MINUTES, ZenmlApi

ADMIN = "admin"
SERVICE_ACCOUNT = "training-service"
KEY_NAME = "training"
# A healthy container's port may be a moment late, above all on Docker Desktop.
_ANSWER_ATTEMPTS = 60
_SECONDS_BETWEEN = 1.0


def run_setup(arguments: list[str]) -> int:
    """The script ``setup_zenml_api_key.py``; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="setup_zenml_api_key.py",
        description="Prepare the Compose stack: write a random value for every missing secret into .env, start the "
        f"ZenML server, and give training its API key ({variables.API_KEY}). Run again, it replaces the key.",
        epilog="Whatever else .env holds stays as it is; variables of the real environment win over it. "
        "Next: docker compose up -d --wait",
    )
    parser.add_argument("--keep-key", action="store_true", help="replace the key only where ZenML does not accept it")
    options = parser.parse_args(arguments)
    setup = Setup(REPOSITORY, os.environ, say, threading.Event().wait)
    return run_command(lambda: setup.run(keep_key=options.keep_key), resume="run this again to go on")


class Setup:
    """The steps, in ``folder``, with the real ``environment``; ``pause`` waits between two looks at the server."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        say: Callable[[str], None],
        pause: Callable[[float], object],
    ) -> None:
        self._checkout = Checkout(folder, environment)
        self._say = say
        self._pause = pause

    def run(self, *, keep_key: bool = False) -> None:
        """Take every step.

        Args:
            keep_key: make no new API key while ZenML accepts the configured one.

        Raises:
            StackError: a step failed; the next run continues there.
        """
        self.prepare()
        stack = self._start()
        api = ZenmlApi(_zenml_url(stack))
        self._say(f"==> ZenML {self._wait_for(api)} answers at {api.url}")
        if keep_key and self._has_valid_key(api):
            self._say(f"==> ZenML accepts {variables.API_KEY}")
            return
        self._give_key(stack, api)
        if not keep_key:
            self._say("next: docker compose up -d --wait")

    def prepare(self) -> None:
        """Check Docker and the variables, and write the missing secrets into ``.env``; nothing is started.

        Raises:
            StackError: the machine, ``.env`` or the environment must be corrected first.
        """
        variables.check(self._checkout.file_values(), self._checkout.environment)
        for line in misspelt(self._checkout.file_values(), example_text(self._checkout.folder)):
            self._say(f"warning: {line}")
        self._say(f"==> found {check_docker(self._checkout.docker(), self._checkout.environment)}")
        self._make_secrets()
        self._open_configuration()

    def _make_secrets(self) -> None:
        file = self._checkout.file_values()
        fresh = variables.new_values(file, self._checkout.environment)
        # Also with nothing to refuse this has docker compose read .env before it is changed.
        self._refuse_lost_passwords([name for name in variables.KEPT_IN_DATABASE if name in fresh])
        self._checkout.env_file.update(fresh)
        added = f"added {', '.join(fresh)}" if fresh else "has every secret already"
        self._say(f"==> .env (only you can read it: mode 0600): {added}")
        elsewhere = [name for name in variables.REQUIRED if self._checkout.environment.get(name)]
        if elsewhere:
            self._say(f"==> set in the environment, which wins over .env: {', '.join(elsewhere)}")

    def _open_configuration(self) -> None:
        """Let the containers, each with a user of its own, read what is mounted: a strict umask may have hidden it."""
        folder = self._checkout.folder / "config"
        for path in [folder, *folder.rglob("*")] if folder.is_dir() else []:
            mode = path.stat().st_mode
            wanted = mode | (0o555 if path.is_dir() or mode & 0o100 else 0o444)
            if wanted != mode:
                try:
                    path.chmod(wanted)
                except OSError as error:
                    raise StackError(f"cannot make {path} readable for the containers ({error.strerror})") from error

    def _refuse_lost_passwords(self, lost: list[str]) -> None:
        docker = self._checkout.docker()
        stack = docker.stack()
        if lost and set(stack.volumes("mysql")).intersection(existing_volumes(docker, stack)):
            why = f"and .env lacks what it was made with ({', '.join(lost)}); if this is a second checkout, set a "
            raise StackError(differing_passwords(stack, f"{why}COMPOSE_PROJECT_NAME of its own in .env, else"))

    def _start(self) -> Stack:
        docker = self._checkout.docker()
        stack = docker.stack()
        for line in exposures(stack):
            self._say(f"warning: {line}")
        prepare_certificate(docker, stack, self._checkout.folder, self._say)
        check_ports(docker, stack.ports(), self._checkout.environment)
        self._say("==> starting ZenML and its MySQL (a first start fetches their images and takes minutes)")
        start_zenml(docker, stack, self._say)
        return stack

    def _has_valid_key(self, api: ZenmlApi) -> bool:
        key = self._checkout.environment.get(variables.API_KEY) or self._checkout.file_values().get(variables.API_KEY)
        return bool(key) and api.accepts_key(str(key))

    def _give_key(self, stack: Stack, api: ZenmlApi) -> None:
        api.log_in(ADMIN, stack.variable("zenml", "ZENML_DEFAULT_USER_PASSWORD"))
        self._say(f"==> logged in as {ADMIN}")
        account, created = api.service_account(SERVICE_ACCOUNT)
        self._say(f"==> service account {SERVICE_ACCOUNT}: {'created' if created else 'found'}")
        key, created = api.api_key(account, KEY_NAME)
        replaced = f"replaced; the former one stays good for {RETAIN_MINUTES} minutes"
        self._say(f"==> its API key {KEY_NAME}: {'created' if created else replaced}")
        if not api.accepts_key(key):
            raise StackError(
                f"ZenML refuses the key that it has just made; is {SERVICE_ACCOUNT} being changed? Run again"
            )
        self._checkout.env_file.update({variables.API_KEY: key})
        self._say(f"==> the key works; .env has it as {variables.API_KEY}")
        if self._checkout.environment.get(variables.API_KEY):
            self._say(f"==> but {variables.API_KEY} is set in the environment and wins over .env: unset it first")

    def _wait_for(self, api: ZenmlApi) -> str:
        for _ in range(_ANSWER_ATTEMPTS - 1):
            try:
                return api.version()
            except NoAnswerError:
                self._pause(_SECONDS_BETWEEN)
        return api.version()


def _zenml_url(stack: Stack) -> str:
    for port in stack.ports():
        if port.service == "zenml":
            return f"http://127.0.0.1:{port.number}"  # where docker-compose.yml binds it
    raise StackError("docker-compose.yml publishes no port of zenml; this script needs one to talk to it")
