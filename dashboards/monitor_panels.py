"""The last row of the Retraining dashboard: the monitor itself, and the alerts."""

from dashboards.panels import RED, Bars, Lines, Panel, Query, States
from dashboards.queries import increase, series

PROMOTED = f"max({series('monitor_last_promoted_timestamp_seconds')} != 0)"
LOADED = series("inference_model_loaded_timestamp_seconds")


def monitor_panels(limits: dict[str, float]) -> list[Panel]:
    """Whether the monitor lives, what waits for it, and whether what it promoted is served."""
    return [
        Lines(
            title="From promoted to served",
            description="How long after the last promotion each replica loaded the model that it serves; less "
            "than 0 while it still serves the one before, and where inference was quicker than the "
            "verdict was told. PromotedNotServed fires half a minute below 0 for two minutes, "
            "unless the model before is champion again: a roll back from one that was never served stays below 0. "
            "A replica that starts anew counts from its start.",
            unit="s",
            least=None,
            queries=(Query(f"{LOADED} - on () group_left () {PROMOTED}", "{{instance}}"),),
        ),
        Lines(
            title="Queue",
            description="Retrain requests in each folder of the spool: new wait, cur are being served, bad "
            "could not be read.",
            unit="none",
            queries=(Query(f"sum by (folder) ({series('monitor_queue')})", "{{folder}}"),),
        ),
        Lines(
            title="Heartbeat over time",
            description="Age of the monitor's last look at its spool. The line is where MonitorStalled fires.",
            unit="s",
            queries=(Query(f"time() - {series('monitor_heartbeat_timestamp_seconds')}", "{{instance}}"),),
            steps=((limits["MonitorStalled"], RED),),
        ),
    ]


def alert_panels() -> list[Panel]:
    """What fired, and what came of it."""
    return [
        States(
            title="Alerts",
            description="Which alerts fired when, of every job. Each has a page in docs/runbook.md.",
            unit="none",
            width=16,
            queries=(Query('max by (alertname) (ALERTS{alertstate="firing"})', "{{alertname}}"),),
            base=RED,
            words={"1": ("fires", RED)},
            nothing="no alert fired in this time",
        ),
        Bars(
            title="Alerts that ask for a training",
            description="Alertmanager's notifications to POST /alerts, by what became of them: accepted is a "
            "training; in_flight and cooldown are the pause between two.",
            unit="none",
            queries=(Query(f"sum by (outcome) ({increase('inference_alerts_total')})", "{{outcome}}"),),
        ),
    ]
