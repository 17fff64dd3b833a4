"""PromQL as the panels need it: every series of the chosen jobs and instances, every rate over Grafana's interval."""

CHOSEN = 'job=~"$job", instance=~"$instance"'


def series(name: str, *matchers: str) -> str:
    """A metric's series of the chosen jobs and instances; matchers as in ``route="/predict"``."""
    return f"{name}{{{', '.join([*matchers, CHOSEN])}}}"


def rate(name: str, *matchers: str) -> str:
    """How much a counter grows in a second."""
    return f"rate({series(name, *matchers)}[$__rate_interval])"


def increase(name: str, *matchers: str) -> str:
    """How much a counter has grown from one point of the graph to the next."""
    return f"increase({series(name, *matchers)}[$__rate_interval])"


def quantile(share: float, histogram: str, *matchers: str, by: str = "") -> str:
    """A histogram's quantile; not a number while nothing is observed."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share:g}, sum by ({labels}) ({rate(f'{histogram}_bucket', *matchers)}))"


def known(expression: str) -> str:
    """Without the series that are not a number."""
    return f"{expression} > -Inf"


def or_zero(expression: str) -> str:
    """0 in place of no series at all."""
    return f"{expression} or vector(0)"
