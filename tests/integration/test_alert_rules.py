"""The alerts, their cases and the runbook."""

import pytest

from src.services.local.processes import REPOSITORY
from tests.support.alert_rules import require_accepted, require_cases, require_dashboard, require_runbook

pytestmark = pytest.mark.integration


def test_rules_are_accepted_without_a_warning() -> None:
    require_accepted(REPOSITORY)


def test_every_alert_fires_where_it_must_and_is_silent_where_it_must_not() -> None:
    require_cases(REPOSITORY)


def test_every_alert_has_a_summary_and_a_section_of_the_runbook() -> None:
    require_runbook(REPOSITORY)


def test_every_alert_links_to_a_dashboard_that_shows_it() -> None:
    require_dashboard(REPOSITORY)
