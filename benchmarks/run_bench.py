"""Entry point: measures servers side by side, round by round, and writes a table, a picture and the raw figures."""

import argparse
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from benchmarks.conditions import tell
from benchmarks.machine import Machine, describe
from benchmarks.material import prepare
from benchmarks.measure import Plan
from benchmarks.picture import draw
from benchmarks.report import markdown
from benchmarks.results import Outcome, Results
from benchmarks.rounds import Candidate, measure_rounds
from benchmarks.servers.catalogue import SERVERS
from benchmarks.servers.ours import with_checkout
from src.services.local.processes import REPOSITORY

KEPT = REPOSITORY / ".bench"
PUBLISHED = REPOSITORY / "benchmarks/results"
ROUNDS = 3

Number = TypeVar("Number", int, float)


def main(arguments: list[str]) -> int:
    """Measure the servers; return 0, 1 where a server failed, or 130 after Ctrl-C."""
    options = _options(arguments)
    # `finally` blocks end the child processes: SIGTERM must run them, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    machine = describe()
    if not machine.idle:
        tell(f"the machine is not idle (load {machine.load:.2f}): the figures are not meaningful, and the page says so")
    try:
        outcomes = _measure(options)
    except KeyboardInterrupt:
        tell("stopped; nothing is written")
        return 130
    _write(options, machine, outcomes, arguments)
    return 1 if any(outcome.failure for outcome in outcomes) else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    plan = Plan()
    parser = argparse.ArgumentParser(prog="make bench BENCH_ARGS=...", description=__doc__)
    names = [server.name for server in SERVERS]
    parser.add_argument("--only", type=_one_of(names), default=[], help=f"some of {','.join(names)}")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="each round measures every server once (%(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=plan.seconds, help="of each measurement (%(default)s)")
    parser.add_argument("--connections", type=_numbers(int), default=plan.connections, help="of the closed loops")
    parser.add_argument("--rates", type=_numbers(float), default=plan.rates, help="of the open loops, in requests/s")
    parser.add_argument("--sizes", type=_numbers(int), default=plan.sizes, help="rows per request")
    parser.add_argument("--before", type=_checkout, help="another checkout of this project to measure beside this one")
    parser.add_argument("--out", type=Path, help="folder for what is written (a whole run: benchmarks/results)")
    return parser.parse_args(arguments)


def _one_of(names: list[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        wanted = text.split(",")
        if unknown := set(wanted) - set(names):
            raise argparse.ArgumentTypeError(f"no server is called {', '.join(sorted(unknown))}")
        return wanted

    return parse


def _checkout(text: str) -> Path:
    folder = Path(text).resolve()
    if not (folder / "src/services/inference/run_inference.py").is_file():
        raise argparse.ArgumentTypeError(f"{text} is no checkout of this project")
    return folder


def _numbers(kind: Callable[[str], Number]) -> Callable[[str], tuple[Number, ...]]:
    def parse(text: str) -> tuple[Number, ...]:
        return tuple(kind(part) for part in text.split(",") if part)

    return parse


def _measure(options: argparse.Namespace) -> list[Outcome]:
    tell("preparing the model and the environments (the first time takes minutes)")
    material = prepare(KEPT / "material")
    servers = [server for server in SERVERS if not options.only or server.name in options.only]
    if options.before is not None:
        servers = [*with_checkout(servers, options.before)]
    candidates = [Candidate(server, KEPT / "environments", tell) for server in servers]
    plan = Plan(options.connections, options.rates, options.sizes, options.seconds)
    measure_rounds(candidates, material, plan, options.rounds, tell)
    return [candidate.outcome for candidate in candidates]


def _write(options: argparse.Namespace, machine: Machine, outcomes: list[Outcome], arguments: list[str]) -> None:
    command = "make bench" + (f" BENCH_ARGS={shlex.quote(' '.join(arguments))}" if arguments else "")
    results = Results(machine, command, options.rounds, options.seconds, outcomes)
    # A partial run must not replace the results of a complete one.
    folder = options.out or (KEPT / "results" if arguments else PUBLISHED)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    (folder / "README.md").write_text(markdown(results), encoding="utf-8")
    draw(results, folder / "results.svg")
    tell(f"written: {folder}/README.md, results.svg and results.json")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
