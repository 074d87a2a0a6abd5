"""Kinds of the Containerized Data Importer."""
