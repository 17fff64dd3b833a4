"""Writes Grafana's dashboards: ``make dashboards`` puts what is described here into ``config/grafana/dashboards``."""
