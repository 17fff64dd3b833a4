"""The Retraining dashboard: the monitor's state, the outcome of each training, and whether it is served."""

from dashboards import glance
from dashboards.board import Board, Row
from dashboards.monitor_panels import alert_panels, monitor_panels
from dashboards.panels import BLUE, GREEN, RED, YELLOW, Bars, Gauges, Lines, Panel, Query, Stat, States
from dashboards.queries import increase, known, or_zero, series

WAITING = series("monitor_queue", 'folder=~"new|cur"')
# The state as one number.
TRAINING, BACKOFF = series("monitor_state", 'state="training"'), series("monitor_state", 'state="backoff"')
STATE = f"sum({TRAINING}) + 2 * sum({BACKOFF})"
STATES = {"0": ("idle", GREEN), "1": ("training", BLUE), "2": ("waiting to retry", YELLOW)}


def retraining_board(limits: dict[str, float]) -> Board:
    """The dashboard.

    Args:
        limits: the limit of each alert, by the alert's name.
    """
    return Board(
        name="retraining",
        title="Retraining",
        description="Retrain requests, the outcomes of trainings, and whether promoted versions are served.",
        span="now-6h",
        rows=[
            Row("", _glance(limits)),
            Row("Requests and runs", [*_states(), *_counts()]),
            Row("The last run", _last_run()),
            Row("Monitor and alerts", [*monitor_panels(limits), *alert_panels()]),
        ],
    )


def _glance(limits: dict[str, float]) -> list[Panel]:
    state = Stat(
        title="Monitor",
        description="The monitor's current state.",
        unit="none",
        queries=(Query(STATE),),
        words=STATES,
        nothing="down",
    )
    waiting = Stat(
        title="Requests on their way",
        description="Pending and running retrain requests. RetrainStuck fires where one is unfinished for half an "
        "hour.",
        unit="none",
        queries=(Query(f"sum({WAITING})"),),
        steps=((1, BLUE),),
        nothing="unknown",
    )
    duration = Stat(
        title="Duration of the last run",
        description="From the start of the last training to its verdict; none where it failed without one.",
        unit="s",
        queries=(Query(known(f"max({series('monitor_last_run_duration_seconds')})")),),
        base=BLUE,
        nothing="no verdict",
    )
    failures = series("monitor_runs_total", 'outcome="failed"')
    failed = Stat(
        title="Failed runs",
        description="Trainings that failed in the selected time range. RetrainFailed fires for each.",
        unit="none",
        decimals=0,
        queries=(Query(or_zero(f"sum(increase({failures}[$__range]))")),),
        steps=((0.5, RED),),
    )
    beat = Stat(
        title="Heartbeat",
        description="Time since the monitor's loop last ran. MonitorStalled fires at the red step.",
        unit="s",
        decimals=0,
        queries=(Query(f"time() - min({series('monitor_heartbeat_timestamp_seconds')})"),),
        steps=((limits["MonitorStalled"], RED),),
        nothing="down",
    )
    return [state, glance.last_verdict(), waiting, duration, failed, glance.served(), beat, glance.firing()]


def _states() -> list[Panel]:
    return [
        States(
            title="State of the monitor",
            description="Idle, training, or waiting to retry a failed training.",
            unit="none",
            width=24,
            height=4,
            queries=(Query(STATE, "monitor"),),
            steps=((1, BLUE), (2, YELLOW)),
            words=STATES,
        )
    ]


def _counts() -> list[Panel]:
    return [
        Bars(
            title="Signals",
            description="Retrain requests by source and outcome: claimed by the monitor, and later their outcome.",
            unit="none",
            queries=(
                Query(f"sum by (source, outcome) ({increase('monitor_signals_total')})", "{{source}} {{outcome}}"),
            ),
        ),
        Bars(
            title="Runs by outcome",
            description="Finished trainings. One training serves all requests that are pending when it starts. "
            "Skipped: there was nothing new to learn from.",
            unit="none",
            queries=(Query(f"sum by (outcome) ({increase('monitor_runs_total')})", "{{outcome}}"),),
        ),
        Bars(
            title="Attempts and starts",
            description="Attempts counted for each request, and the outcome of starting a training. "
            "TrainingCannotStart fires for missing and failed.",
            unit="none",
            queries=(
                Query(f"sum({increase('monitor_attempts_total')})", "attempts"),
                Query(f"sum by (outcome) ({increase('monitor_trainer_starts_total')})", "start {{outcome}}"),
                Query(f"sum by (kind) ({increase('monitor_trainer_exits_total')})", "exit {{kind}}"),
            ),
        ),
    ]


def _last_run() -> list[Panel]:
    scores = known(f"max by (model, metric) ({series('monitor_last_run_score')})")
    return [
        Gauges(
            title="Challenger against champion",
            description="Scores of both on the same rows in the last training; greater is better. The gate uses "
            "gate.metric.",
            unit="none",
            width=6,
            least=None,
            decimals=3,
            queries=(Query(scores, "{{metric}} {{model}}"),),
            base=BLUE,
            nothing="no run yet, or the last run failed without scores",
        ),
        Lines(
            title="Scores from run to run",
            description="The same over time; dashed: the champion's.",
            unit="none",
            width=6,
            decimals=3,
            least=None,
            queries=(Query(scores, "{{metric}} {{model}}"),),
            dashed=".* champion$",
        ),
        Lines(
            title="Duration from run to run",
            description="From the start of each training to its verdict.",
            unit="s",
            queries=(Query(known(f"max({series('monitor_last_run_duration_seconds')})"), "whole run"),),
            width=6,
        ),
        Lines(
            title="Duration by step",
            description="Duration of each step of the last training, as recorded by ZenML; none for failed runs.",
            unit="s",
            width=6,
            queries=(Query(known(f"max by (step) ({series('monitor_last_run_step_duration_seconds')})"), "{{step}}"),),
        ),
    ]
