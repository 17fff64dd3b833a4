"""What Prometheus gets to know of the stack: the services' metrics, servers without any, and the optional exporters."""

from collections.abc import Iterator

import pytest

from tests.support.prometheus_tools import run_tool
from tests.support.running import wait_until
from tests.support.stack import Stack

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

GRANTS = 'MYSQL_PWD=$MYSQL_EXPORTER_PASSWORD mysql -h127.0.0.1 -uexporter -N -e "SHOW GRANTS"'

QUERIES = (
    "mysql_up == 1",
    "mysql_global_status_threads_connected > 0",
    "node_load1",
    "node_memory_MemAvailable_bytes > 0",
    'node_filesystem_avail_bytes{mountpoint="/"} > 0',
    "node_disk_io_time_seconds_total",
)


@pytest.fixture
def exporters(stack: Stack) -> Iterator[Stack]:
    """The profile `exporters` too; before it, and afterwards again, Prometheus has no target of it."""
    names = ("node-exporter", "mysqld-exporter")
    stack.compose("exec", "-T", "mysql", "sh", "/docker-entrypoint-initdb.d/exporter.sh")  # as for an older volume
    assert stack.prometheus('up{job=~"node|mysql"}') == []
    stack.compose("--profile", "exporters", "up", "-d", "--wait", *names)
    try:
        yield stack
    finally:
        stack.compose("--profile", "exporters", "rm", "--stop", "--force", *names)
    missed = 'up{job=~"node|mysql"} or ALERTS{alertname="TargetDown"}'
    wait_until("neither is missed", lambda: not stack.prometheus(missed))


def test_prometheus_knows_whether_mlflow_and_zenml_answer(stack: Stack) -> None:
    def answers() -> dict[str, str]:
        return {row["metric"]["instance"]: row["value"][1] for row in stack.prometheus("probe_success")}

    wait_until("both are asked", lambda: answers() == {"mlflow": "1", "zenml": "1"})


@pytest.mark.parametrize("address", ["inference:8000", "monitor:8001", "quality:8002"])
def test_what_a_service_tells_prometheus_has_nothing_to_mend(stack: Stack, address: str) -> None:
    output = stack.compose("exec", "-T", "prometheus", "wget", "-q", "-O", "-", f"http://{address}/metrics").stdout
    assert f"# TYPE {address.partition(':')[0]}_" in output
    assert run_tool("promtool", "check", "metrics", given=output) == ""


def test_optional_exporters_are_scraped_while_they_run_and_not_missed_before(exporters: Stack) -> None:
    stack = exporters

    def up() -> dict[str, str]:
        return {row["metric"]["job"]: row["value"][1] for row in stack.prometheus('up{job=~"node|mysql"}')}

    wait_until("both are scraped", lambda: up() == {"node": "1", "mysql": "1"})
    for query in QUERIES:
        assert stack.prometheus(query), query
    assert stack.prometheus('{__name__=~"(mysql_exporter|node_scrape)_collector_success"} == 0') == []
    stack.require_limits()
    grants = stack.compose("exec", "-T", "mysql", "sh", "-c", GRANTS).stdout.splitlines()
    assert grants == ["GRANT USAGE ON *.* TO `exporter`@`%`"]
