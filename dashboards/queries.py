"""PromQL expressions for the panels: series of the selected jobs and instances, rates over Grafana's interval."""

CHOSEN = 'job=~"$job", instance=~"$instance"'


def series(name: str, *matchers: str) -> str:
    """A metric's series of the selected jobs and instances; matchers such as ``route="/predict"``."""
    return f"{name}{{{', '.join([*matchers, CHOSEN])}}}"


def rate(name: str, *matchers: str) -> str:
    """A counter's increase per second."""
    return f"rate({series(name, *matchers)}[$__rate_interval])"


def increase(name: str, *matchers: str) -> str:
    """A counter's increase from one point of the graph to the next."""
    return f"increase({series(name, *matchers)}[$__rate_interval])"


def quantile(share: float, histogram: str, *matchers: str, by: str = "") -> str:
    """A histogram's quantile; NaN while nothing is observed."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share:g}, sum by ({labels}) ({rate(f'{histogram}_bucket', *matchers)}))"


def known(expression: str) -> str:
    """The expression without NaN."""
    return f"{expression} > -Inf"


def or_zero(expression: str) -> str:
    """The expression, or 0 where there is no series."""
    return f"{expression} or vector(0)"
