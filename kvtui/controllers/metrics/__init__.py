"""Metrics under upstream's names, on a Prometheus text endpoint."""
