"""Types of panels, each of which creates the SDK's builder."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, stat, statetimeline, timeseries
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import prometheus as prometheus_builders
from grafana_foundation_sdk.models import common, dashboard, prometheus

PROMETHEUS = common.DataSourceRef(type_val="prometheus", uid="prometheus")
GREEN, YELLOW, RED, BLUE, GREY = "green", "yellow", "red", "blue", "text"

Builder = timeseries.Panel | stat.Panel | statetimeline.Panel | bargauge.Panel
Kind = TypeVar("Kind", timeseries.Panel, stat.Panel, statetimeline.Panel, bargauge.Panel)


@dataclass(frozen=True)
class Query:
    """One query of a panel; ``legend`` names its series, with labels as ``{{label}}``."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, kw_only=True)
class Panel(ABC):
    """The options of every type of panel.

    Attributes:
        unit: an identifier of Grafana's.
        steps: the values from which colours apply; ``base`` applies below them.
        words: the text and colour to show instead of a value; ``nan`` for values that are not numbers.
        nothing: the text to show where there is no series.
        width: in columns; a dashboard has 24.
        finest: the minimum time between two points, where the default is too short.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    steps: tuple[tuple[float, str], ...] = ()
    base: str = GREEN
    words: dict[str, tuple[str, str]] = field(default_factory=dict)
    nothing: str = ""
    width: int = 8
    height: int = 7
    least: float | None = None
    most: float | None = None
    decimals: int | None = None
    finest: str = ""

    @abstractmethod
    def builder(self) -> Builder:
        """The SDK's builder of this panel, without id and position."""

    def _furnish(self, panel: Kind, *, instant: bool = False) -> Kind:
        panel = panel.title(self.title).description(self.description).datasource(PROMETHEUS).unit(self.unit)
        panel = panel.span(self.width).height(self.height).thresholds(self._thresholds()).mappings(self._mappings())
        for letter, query in zip("ABCDEFGH", self.queries, strict=False):
            target = prometheus_builders.Dataquery().ref_id(letter).datasource(PROMETHEUS).expr(query.expr)
            target = target.legend_format(query.legend or "__auto").editor_mode(prometheus.QueryEditorMode.CODE)
            panel = panel.with_target(target.instant() if instant else target.range())
        if self.least is not None:
            panel = panel.min(self.least)
        if self.most is not None:
            panel = panel.max(self.most)
        if self.decimals is not None:
            panel = panel.decimals(self.decimals)
        if self.finest:
            panel = panel.interval(self.finest)
        return panel.no_value(self.nothing) if self.nothing else panel

    def _thresholds(self) -> dashboard_builders.ThresholdsConfig:
        steps = [
            dashboard.Threshold(color=self.base),
            *(dashboard.Threshold(value, name) for value, name in self.steps),
        ]
        return dashboard_builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)

    def _mappings(self) -> list[dashboard.ValueMapping]:
        shown = {value: dashboard.ValueMappingResult(text, color) for value, (text, color) in self.words.items()}
        not_a_number = shown.pop("nan", None)
        mappings: list[dashboard.ValueMapping] = [dashboard.ValueMap(shown)] if shown else []
        if not_a_number is not None:
            options = dashboard.DashboardSpecialValueMapOptions(dashboard.SpecialValueMatch.NA_N, not_a_number)
            mappings.append(dashboard.SpecialValueMap(options))
        return mappings


@dataclass(frozen=True, kw_only=True)
class Stat(Panel):
    """The newest value in large type; ``named`` shows the series' name with the value or instead of it."""

    width: int = 3
    height: int = 4
    named: common.BigValueTextMode = common.BigValueTextMode.VALUE

    def builder(self) -> Builder:
        """With a background coloured by the value."""
        newest = common_builders.ReduceDataOptions().calcs(["lastNotNull"])
        panel = self._furnish(stat.Panel(), instant=True).reduce_options(newest).text_mode(self.named)
        panel = panel.color_scheme(_color(dashboard.FieldColorModeId.THRESHOLDS))
        return panel.color_mode(common.BigValueColorMode.BACKGROUND).graph_mode(common.BigValueGraphMode.NONE)


@dataclass(frozen=True, kw_only=True)
class Lines(Panel):
    """Values over time, with a dashed line at each step; series whose names match ``dashed`` are dashed, too."""

    least: float | None = 0
    dashed: str = ""

    def builder(self) -> Builder:
        """With each series' newest value in the legend, and one tooltip for all series."""
        panel = _with_legend(self._furnish(timeseries.Panel())).fill_opacity(8)
        if self.steps:
            style = common.GraphThresholdsStyleMode.DASHED
            panel = panel.thresholds_style(common_builders.GraphThresholdsStyleConfig().mode(style))
        if self.dashed:
            style_of_line = dashboard.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 6]})
            panel = panel.override_by_regexp(self.dashed, [style_of_line])
        return panel


@dataclass(frozen=True, kw_only=True)
class Bars(Panel):
    """Counts over time, as stacked bars."""

    least: float | None = 0
    finest: str = "1m"

    def builder(self) -> Builder:
        """Like ``Lines``, with bars."""
        panel = _with_legend(self._furnish(timeseries.Panel())).draw_style(common.GraphDrawStyle.BARS)
        return panel.fill_opacity(80).stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))


@dataclass(frozen=True, kw_only=True)
class States(Panel):
    """A few discrete values over time, with a row for each series."""

    def builder(self) -> Builder:
        """Coloured by value."""
        panel = self._furnish(statetimeline.Panel()).merge_values(merge_values=True).row_height(0.8)
        return panel.color_scheme(_color(dashboard.FieldColorModeId.THRESHOLDS))


@dataclass(frozen=True, kw_only=True)
class Gauges(Panel):
    """The newest values as bars."""

    least: float | None = 0

    def builder(self) -> Builder:
        """Horizontal bars, coloured by their values."""
        newest = common_builders.ReduceDataOptions().calcs(["lastNotNull"])
        panel = self._furnish(bargauge.Panel(), instant=True).reduce_options(newest)
        panel = panel.orientation(common.VizOrientation.HORIZONTAL).display_mode(common.BarGaugeDisplayMode.BASIC)
        return panel.color_scheme(_color(dashboard.FieldColorModeId.THRESHOLDS))


def _color(mode: dashboard.FieldColorModeId) -> dashboard_builders.FieldColor:
    return dashboard_builders.FieldColor().mode(mode)


def _with_legend(panel: timeseries.Panel) -> timeseries.Panel:
    legend = common_builders.VizLegendOptions().show_legend(show_legend=True).placement(common.LegendPlacement.BOTTOM)
    legend = legend.display_mode(common.LegendDisplayMode.LIST).calcs(["lastNotNull"])
    tooltip = (
        common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
    )
    return panel.legend(legend).tooltip(tooltip).show_points(common.VisibilityMode.NEVER).line_width(1)
