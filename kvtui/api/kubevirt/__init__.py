"""Kinds of KubeVirt."""
