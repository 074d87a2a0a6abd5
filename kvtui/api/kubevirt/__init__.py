"""Kinds of KubeVirt."""

UPSTREAM_VERSION = "v1.9.0"
"""The version of KubeVirt whose API this is; clients read it."""
