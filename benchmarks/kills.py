"""Kills inference and the process `quality` at random moments, and checks that what was promised is kept.

Both run as real processes under a steady load of predictions and labels. In each round one of them, drawn at random, is
killed by SIGKILL some random time after it has started to answer, and is started again at once. At the end, the stores
are compared with the answers that the clients received.
"""

import argparse
import contextlib
import random
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.conditions import heading, make_command, tell
from benchmarks.kill_checks import WRITING_SECONDS, Kill, Loss, check_labels, check_rows, losses, read_stores
from benchmarks.kill_load import Load, Traffic
from benchmarks.material import MODEL_NAME, Material, prepare
from benchmarks.running import ServerFailedError, free_ports
from benchmarks.services import Service
from src.core.feedback import FEEDBACK_FOLDER
from src.core.prediction_log import OPEN_SUFFIX, SEGMENT_SUFFIX, SEGMENTS_FOLDER
from src.core.quality_report import REPORT_FILE, read_report
from src.services.local.processes import REPOSITORY
from src.serving.watch.prediction_log import WRITE_SECONDS

PUBLISHED = REPOSITORY / "benchmarks/results/kills.md"
MATERIAL = REPOSITORY / ".bench" / "material"
ROUNDS, SEED = 30, 20261130
# From when a process answers to its kill.
LEAST_SECONDS, MOST_SECONDS = 0.1, 5.0
SETTLE_SECONDS, REPORTS = 60.0, 2
# Above the rate of the load, so that all rows are sampled.
MAX_RATE = "1000"


@dataclass(frozen=True)
class Found:
    """What was measured: the kills with the start of the run, the traffic, what was lost, and the faults."""

    start: float
    kills: list[Kill]
    traffic: Traffic
    losses: list[Loss]
    rows: int
    labels: int
    faults: list[str]


def main(arguments: Sequence[str]) -> int:
    """Measure and write the report; return 0, or 1 with the list of what was not kept."""
    parser = argparse.ArgumentParser(prog="make measure-kills KILLS_ARGS=...", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="kills (%(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of what is killed when (%(default)s)")
    parser.add_argument("--longest", type=float, default=MOST_SECONDS, help="seconds before a kill (%(default)s)")
    parser.add_argument("--report", type=Path, default=PUBLISHED, help="where the report is written (%(default)s)")
    options = parser.parse_args(arguments)
    conditions = heading(make_command("measure-kills", arguments))
    with TemporaryDirectory(prefix="kills-") as folder:
        found = measure(Path(folder), prepare(MATERIAL), options.rounds, options.seed, options.longest)
    options.report.write_text(report(conditions, options.seed, found), encoding="utf-8")
    for fault in found.faults:
        tell(f"FAULT: {fault}")
    return 1 if found.faults else 0


def measure(folder: Path, material: Material, rounds: int, seed: int, longest: float) -> Found:
    """Run the rounds and check the stores; all state is below ``folder``."""
    quality_dir = folder / "data/quality"
    with _services(folder, material) as services:
        load, start = Load(services["inference"].url.removesuffix("/health"), material, seed), time.monotonic()
        with load.running() as traffic:
            kills = list(_kill(services, rounds, seed, longest, start))
        services["inference"].stop()
        settled = _settle(quality_dir, services["quality"])
    stored, faults = read_stores(quality_dir, MODEL_NAME)
    lost, missing = losses(traffic, stored, kills)
    faults += [*settled, *check_labels(traffic, stored), *check_rows(traffic, stored), *missing]
    return Found(start, kills, traffic, lost, stored.rows.total(), stored.labels.total(), faults)


@contextlib.contextmanager
def _services(folder: Path, material: Material) -> Iterator[dict[str, Service]]:
    """Both services, ready; they are ended afterwards."""
    inference, quality, nowhere = free_ports(3)
    shutil.copytree(material.cache, folder / "model-cache")
    shared = {"DATA_DIR": str(folder / "data"), "MODEL_NAME": MODEL_NAME, "PREDICTION_LOG_RATE": MAX_RATE}
    # Nothing listens on the last port: the model comes from the cache.
    model = {"MODEL_CACHE_DIR": str(folder / "model-cache"), "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{nowhere}"}
    serving = {**shared, **model, "INFERENCE_PORT": str(inference), "DRAIN_SECONDS": "0"}
    reporting = {**shared, "QUALITY_PORT": str(quality), "QUALITY_SECONDS": "0.5"}
    services = {
        "inference": Service("inference", f"http://127.0.0.1:{inference}/health", serving, folder),
        "quality": Service("quality", f"http://127.0.0.1:{quality}/metrics", reporting, folder),
    }
    with contextlib.ExitStack() as ending:
        for service in services.values():
            ending.callback(service.stop)
            service.start()
        for service in services.values():
            service.wait()
        yield services


def _kill(services: dict[str, Service], rounds: int, seed: int, longest: float, start: float) -> Iterator[Kill]:
    """Kill one service a round, and start it again at once; gives the kills."""
    numbers, pause = random.Random(seed), threading.Event()  # noqa: S311 - not for secrets
    for number in range(rounds):
        service, seconds = services[numbers.choice(sorted(services))], numbers.uniform(LEAST_SECONDS, longest)
        pause.wait(seconds)
        at = service.kill()
        service.start()
        service.wait()
        tell(f"round {number + 1} of {rounds}: {service.name}, {at - start:.1f} s after the start")
        yield Kill(service.name, at)
    pause.wait(longest)


def _settle(quality_dir: Path, quality: Service) -> list[str]:
    """Have all that waits taken in, and two more reports written; return what is not, as sentences."""

    def is_taken_in() -> bool:
        waiting = (quality_dir / name for name in (SEGMENTS_FOLDER, FEEDBACK_FOLDER))
        return not any(path.suffix in {SEGMENT_SUFFIX, OPEN_SUFFIX} for folder in waiting for path in folder.iterdir())

    def newest() -> datetime | None:
        found = read_report(quality_dir / REPORT_FILE, MODEL_NAME)
        return None if found is None else found.at

    def is_newer(before: datetime | None) -> bool:
        return newest() != before

    try:
        quality.wait_for(is_taken_in, SETTLE_SECONDS)
        for _ in range(REPORTS):
            quality.wait_for(partial(is_newer, newest()), SETTLE_SECONDS)
    except ServerFailedError as error:
        return [f"not everything is taken in and reported: {error}"]
    finally:
        quality.stop()
    return []


def report(conditions: str, seed: int, found: Found) -> str:
    """The rounds as Markdown, below the lines that say how they were measured."""
    traffic, by_process = found.traffic, Counter(kill.process for kill in found.kills)
    lost, seconds = sum(loss.rows for loss in found.losses), max((loss.seconds for loss in found.losses), default=0.0)
    lines = [
        "# Killed at random: inference and the process `quality`",
        "",
        conditions,
        "",
        f"{len(found.kills)} rounds of SIGKILL (inference {by_process['inference']}, quality {by_process['quality']};",
        f"seed {seed}) under load, with a restart at once. Inference writes the log every {WRITE_SECONDS:g} s: a kill",
        f"may lose the rows of the last {WRITE_SECONDS:g} s and of the time that the write takes, for which",
        f"{WRITING_SECONDS:g} s are accepted. A row counts as answered when the client has its answer.",
        "",
        "| what | rows |",
        "| --- | ---: |",
        f"| predictions requested | {len(traffic.sent):,} |",
        f"| answered | {len(traffic.answered):,} |",
        f"| rows in the log | {found.rows:,} |",
        f"| answered, but not in the log | {lost:,} |",
        f"| labels sent | {len(traffic.labels):,} |",
        f"| acknowledged with 202 | {len(traffic.accepted):,} |",
        f"| labels in the store | {found.labels:,} |",
        "",
        f"The oldest lost row was answered {seconds:.2f} s before the kill.",
        "",
        "Faults:",
        "",
        *(f"- {fault}" for fault in found.faults or ["none"]),
        "",
        "| round | killed | after s | rows lost | the oldest, s before the kill |",
        "| ---: | --- | ---: | ---: | ---: |",
        *(
            f"| {number} | {kill.process} | {kill.at - found.start:.2f} | {loss.rows or ''} | "
            f"{f'{loss.seconds:.2f}' if loss.rows else ''} |"
            for number, (kill, loss) in enumerate(zip(found.kills, found.losses, strict=True), 1)
        ),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
