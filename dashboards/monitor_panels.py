"""The last rows of the Retraining dashboard: the monitor and the alerts."""

from dashboards.panels import RED, Bars, Lines, Panel, Query, States
from dashboards.queries import increase, series

PROMOTED = f"max({series('monitor_last_promoted_timestamp_seconds')} != 0)"
LOADED = series("inference_model_loaded_timestamp_seconds")


def monitor_panels(limits: dict[str, float]) -> list[Panel]:
    """The monitor's heartbeat and queue, whether promoted versions are served, and the audit log's failures."""
    return [
        Lines(
            title="From promoted to served",
            description="Time from the last promotion until each replica loaded its current model; negative while a "
            "replica still serves the previous version, and where it loaded the model before the verdict was "
            "recorded. PromotedNotServed fires below -30 s for two minutes, unless the previous model is champion "
            "again: after a rollback from a version that was never served, the time stays negative. "
            "For a restarted replica it is the time until its start.",
            unit="s",
            least=None,
            queries=(Query(f"{LOADED} - on () group_left () {PROMOTED}", "{{instance}}"),),
        ),
        Lines(
            title="Queue",
            description="Retrain requests in each folder of the spool: new are pending, cur are running, bad are "
            "unreadable.",
            unit="none",
            queries=(Query(f"sum by (folder) ({series('monitor_queue')})", "{{folder}}"),),
        ),
        Lines(
            title="Heartbeat over time",
            description="Time since the monitor last read its spool. MonitorStalled fires at the line.",
            unit="s",
            queries=(Query(f"time() - {series('monitor_heartbeat_timestamp_seconds')}", "{{instance}}"),),
            steps=((limits["MonitorStalled"], RED),),
        ),
        Bars(
            title="Audit log failures",
            description="Times that a process could not write to the audit log. AuditLogFailing fires for each.",
            unit="none",
            queries=tuple(
                Query(f"sum by (job) ({increase(f'{service}_audit_failures_total')})", "{{job}}")
                for service in ("inference", "monitor", "quality")
            ),
        ),
    ]


def alert_panels() -> list[Panel]:
    """The alerts, and the trainings that they request."""
    return [
        States(
            title="Alerts",
            description="Firing alerts of every job over time. docs/runbook.md has a section for each.",
            unit="none",
            width=16,
            queries=(Query('max by (alertname) (ALERTS{alertstate="firing"})', "{{alertname}}"),),
            base=RED,
            words={"1": ("firing", RED)},
            nothing="no alert in this range",
        ),
        Bars(
            title="Alerts that ask for a training",
            description="Alertmanager's notifications to POST /alerts, by outcome: accepted requests a training; "
            "in_flight and cooldown are ignored, as a training is running or was recent.",
            unit="none",
            queries=(Query(f"sum by (outcome) ({increase('inference_alerts_total')})", "{{outcome}}"),),
        ),
    ]
