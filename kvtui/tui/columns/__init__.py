"""Rows as cells, one module per view; pure."""
