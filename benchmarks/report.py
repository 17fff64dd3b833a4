"""The results as a page of Markdown."""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

from benchmarks.goals import ECHO, goals, ratio
from benchmarks.measure import HEALTH_RATE, ONE_ROW_ONLY
from benchmarks.results import Outcome, Results
from benchmarks.servers.ours import BEFORE, NAME

NONE = "\N{EN DASH}"
MEGA = 1_000_000
# From this share of a core on, the client is the bottleneck.
CLIENT_LIMIT = 0.95
# What the README's table shows.
SUMMARY_CONNECTIONS = (1, 16, 64)
SUMMARY_P99_AT = 16
SUMMARY_ROWS = 1000
# The servers without a model that each of these is compared with.
COMPARED = {NAME: ("constant", ECHO), "ours-mlflow": (ECHO,), "ours-v2": (ECHO,)}

PICTURE = (
    "![Requests/s of every server, its p99 at a fixed rate, and the cost of a row by rows per request](results.svg)"
)
CLOSED_TEXT = """\
Each connection sends its next request when it has a response; three groups of columns by connections. Memory is the
resident memory of all of a server's processes after these loads; the start is the time from starting the process to
its first successful response."""
OPEN_TEXT = """\
Requests are due at a fixed rate, and latencies count from the due time. A rate is left out for a server whose closed
loops have less than 1.25 times this throughput."""
ROWS_TEXT = "One connection; the p50 of a request and, below it, the same per row."
HEALTH_TEXT = f"""\
`/health` of this service at {HEALTH_RATE:g} requests/s, while another connection sends one request of so many rows
after the other: the longest latency of all rounds, from the due time."""
GOALS_TEXT = """\
Peers are the other servers with a model. The start and the memory are the largest of the routes with requests of
single rows."""


def markdown(results: Results) -> str:
    """The page."""
    parts = [
        "# Measured side by side",
        _how(results),
        PICTURE,
        "## One row per request, maximum throughput",
        CLOSED_TEXT,
        _closed_table(results),
        _ratios(results),
        "## One row per request, at a fixed rate",
        OPEN_TEXT,
        _open_table(results),
        "## Many rows per request",
        ROWS_TEXT,
        _rows_table(results, "ms", lambda milliseconds, _: milliseconds),
        _rows_table(results, "µs per row", lambda milliseconds, size: milliseconds * 1000 / size),
        _health_table(results),
        "## Goals",
        GOALS_TEXT,
        _goals_table(results),
        _remarks(results.outcomes),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def summary(results: Results) -> str:
    """The README's table: one line for every server with requests of single rows."""
    header = ["one row per request", *(f"{count} conn.: requests/s" for count in SUMMARY_CONNECTIONS)]
    header += [f"{SUMMARY_P99_AT} conn.: p99 ms", f"{SUMMARY_ROWS:,} rows: p50 ms", "start s", "memory MB"]
    lines = []
    for outcome in results.measured_singly:
        memory = outcome.memory_bytes()
        rates = (outcome.closed(count, attrgetter("per_second")) for count in SUMMARY_CONNECTIONS)
        lines.append(
            [
                outcome.title,
                *(_number(rate, 0) for rate in rates),
                _number(outcome.closed(SUMMARY_P99_AT, attrgetter("p99")), 1),
                _number(outcome.batch(SUMMARY_ROWS, attrgetter("p50")), 1),
                _number(outcome.start_seconds(), 1),
                _number(None if memory is None else memory / MEGA, 0),
            ]
        )
    return _table(header, lines)


def _how(results: Results) -> str:
    machine = results.machine
    state = "idle" if machine.idle else "**not idle: these figures are not meaningful**"
    return f"""\
`{results.command}`, {machine.measured_at}, {machine.processor}, {machine.cores} cores, \
{machine.memory_bytes / 2**30:.0f} GiB, {machine.system}, Python {machine.python}.
The load before the run was {machine.load:.2f} ({state}).

Medians of {results.rounds} rounds. In each round every server is started and measured alone, with one worker; server
and client share the machine's cores without pinning. Closed loops and batches take {results.seconds:g} s, open loops
twice that, after a warm-up. All servers have the same forest of 100 trees and get the same rows on keep-alive
connections. Their labels are compared with scikit-learn's before the measurement; during it, the status of every
response is checked."""


def _closed_table(results: Results) -> str:
    header = ["server"]
    for count in results.connections:
        header += [f"{count} conn.: requests/s", "p50 ms", "p99 ms"]
    lines = []
    for outcome in results.measured_singly:
        line = [outcome.title]
        for count in results.connections:
            line.append(_number(outcome.closed(count, attrgetter("per_second")), 0))
            line += [_number(outcome.closed(count, attrgetter(name)), 2) for name in ("p50", "p99")]
        memory = outcome.memory_bytes()
        line.append(_number(outcome.start_seconds(), 1))
        line.append(_number(None if memory is None else memory / MEGA, 0))
        lines.append(line)
    return _table([*header, "start s", "memory MB"], lines)


def _ratios(results: Results) -> str:
    """This service's throughput as a multiple of servers without a model, and of another checkout."""
    lines = []
    for name, against in COMPARED.items():
        mine = results.named(name)
        others = (results.named(other) for other in (*against, name.replace(NAME, BEFORE)))
        for other in others if mine else ():
            if mine and other:
                shares = (f"{_number(ratio(mine, other, count), 2)} at {count}" for count in results.connections)
                lines.append(f"- {mine.title} against {other.title}: {', '.join(shares)}")
    return "Multiples of requests/s, by connections:\n\n" + "\n".join(lines) if lines else ""


def _open_table(results: Results) -> str:
    names = {"p50": "p50", "p90": "p90", "p99": "p99", "maximum": "max"}
    header = ["server"]
    for rate in results.rates:
        header += [f"{rate:g}/s: p50 ms", *(f"{shown} ms" for name, shown in names.items() if name != "p50")]
    lines = [
        [
            outcome.title,
            *(_number(outcome.open(rate, attrgetter(name)), 2) for rate in results.rates for name in names),
        ]
        for outcome in results.measured_singly
    ]
    late = [outcome.open(rate, attrgetter("sent_late_p99")) for outcome in results.measured for rate in results.rates]
    worst = max((value for value in late if value is not None), default=None)
    client = f"\n\nThe client itself sent these late by at most {_number(worst, 2)} ms (p99, the worst row's)."
    return _table(header, lines) + client if results.rates else ""


def _rows_table(results: Results, unit: str, shown: Callable[[float, int], float]) -> str:
    lines = []
    for outcome in results.measured:
        medians = [outcome.batch(size, attrgetter("p50")) for size in results.sizes]
        if any(value is not None for value in medians):
            pairs = zip(medians, results.sizes, strict=True)
            cells = (_number(None if median is None else shown(median, size), 2) for median, size in pairs)
            lines.append([outcome.title, *cells])
    return _table([f"server: {unit}", *(f"{size:,} rows" for size in results.sizes)], lines) if lines else ""


def _health_table(results: Results) -> str:
    sizes = sorted({size for outcome in results.measured for one in outcome.measurements for size in one.health})
    lines = [
        [outcome.title, *(_number(outcome.health(size), 1) for size in sizes)]
        for outcome in results.measured
        if any(one.health for one in outcome.measurements)
    ]
    table = _table(["server: max ms", *(f"{size:,} rows" for size in sizes)], lines)
    return f"## `/health` beside large requests\n\n{HEALTH_TEXT}\n\n{table}" if lines else ""


def _goals_table(results: Results) -> str:
    lines = []
    for goal in goals(results):
        limit, measured = (_number(value, goal.decimals) for value in (goal.limit, goal.measured))
        met = NONE if goal.met is None else "yes" if goal.met else "**no**"
        lines.append([goal.what, f"{'≥' if goal.at_least else '≤'} {limit} {goal.unit}", measured, met])
    return _table(["what", "goal", "measured", "met"], lines)


def _remarks(outcomes: Iterable[Outcome]) -> str:
    """Remarks on servers that are not in their figures."""
    lines = []
    for outcome in outcomes:
        facts = [outcome.note] if outcome.note else []
        if (refused := outcome.refused()) and refused != ONE_ROW_ONLY:
            facts.append(f"not all batches: {refused}")
        facts += [f"{cause}: {count}" for cause, count in sorted(outcome.errors().items())]
        if outcome.client_cpu() > CLIENT_LIMIT:
            facts.append("the client was the bottleneck")
        if facts:
            lines.append(f"- {outcome.title}: {'; '.join(facts)}")
        if outcome.failure:
            lines.append(f"- {outcome.title} failed:\n\n{_quoted(outcome.failure)}")
    return "## Remarks\n\n" + "\n".join(lines) if lines else ""


def _quoted(text: str) -> str:
    return "\n".join(f"  {line}" for line in ("```text", *text.splitlines(), "```"))


def _number(value: float | None, decimals: int) -> str:
    return NONE if value is None else f"{value:,.{decimals}f}"


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [header, ["---", *("---:" for _ in header[1:])], *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
