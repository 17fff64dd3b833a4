"""A dashboard made of rows of panels, with the variables, annotations and links that all dashboards share."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus as prometheus_builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from dashboards.panels import BLUE, GREEN, PROMETHEUS, YELLOW, Panel
from dashboards.queries import CHOSEN, increase, series

TAG = "mlops-loop"


@dataclass(frozen=True)
class Row:
    """Panels under a title, side by side from the left; without a title there is no heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Board:
    """One dashboard.

    Attributes:
        name: the name of its file and, with a prefix, its uid in Grafana.
        span: the initial time range, in Grafana's syntax.
    """

    name: str
    title: str
    description: str
    rows: Sequence[Row]
    span: str = "now-1h"

    def json(self) -> str:
        """Grafana's classic JSON, indented, with sorted keys."""
        board = builders.Dashboard(self.title).uid(f"{TAG}-{self.name}").description(self.description).tags([TAG])
        board = board.readonly().time(self.span, "now").refresh("10s").timezone("browser")
        board = board.tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        board = board.variables([*_variables()]).annotations([*_annotations()]).links([_links()])
        number = 0
        for row in self.rows:
            if row.title:
                number += 1
                board = board.with_row(builders.Row(row.title).id(number))
            for panel in row.panels:
                number += 1
                board = board.with_panel(panel.builder().id(number))
        return JSONEncoder(indent=2, sort_keys=True).encode(board.build()) + "\n"


def _variables() -> list[builders.QueryVariable]:
    found = {"job": "label_values(up, job)", "instance": 'label_values(up{job=~"$job"}, instance)'}
    return [_variable(name, query) for name, query in found.items()]


def _variable(name: str, query: str) -> builders.QueryVariable:
    variable = builders.QueryVariable(name).label(name.capitalize()).datasource(PROMETHEUS)
    variable = variable.query({"query": query, "refId": name, "qryType": 1}).definition(query)
    variable = variable.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
    variable = (
        variable.sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".+")
    )
    return variable.current(dashboard.VariableOption(selected=True, text="All", value="$__all"))


def _annotations() -> list[builders.AnnotationQuery]:
    loaded = f"{series('inference_model_loaded_timestamp_seconds')} * 1000"
    # Joined for the version's number, which is a label of another metric.
    swaps = f"{series('inference_model_info')} * on (job, instance) group_left () ({loaded})"
    return [
        _annotation("Swaps", BLUE, swaps, "{{name}} {{version}} is served ({{instance}})").use_value_for_time(
            use_value_for_time=True
        ),
        _annotation("Trainings", YELLOW, f'monitor_state{{state="training", {CHOSEN}}}', "training"),
        _annotation("Verdicts", GREEN, f"sum by (outcome) ({increase('monitor_runs_total')})", "training {{outcome}}"),
    ]


def _annotation(name: str, color: str, expr: str, title: str) -> builders.AnnotationQuery:
    target = prometheus_builders.Dataquery().ref_id("Anno").expr(expr).range().interval("15s")
    annotation = builders.AnnotationQuery().name(name).datasource(PROMETHEUS).enable(enable=True).icon_color(color)
    return annotation.target(target).title_format(title).placement("")  # above the panels, not in a menu


def _links() -> builders.DashboardLink:
    link = builders.DashboardLink("Dashboards").type(dashboard.DashboardLinkType.DASHBOARDS).tags([TAG]).placement("")
    return link.include_vars(include_vars=True).keep_time(keep_time=True)
