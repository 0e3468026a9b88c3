"""Writes the dashboards: `make dashboards`."""
