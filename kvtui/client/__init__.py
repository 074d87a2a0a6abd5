"""Typed REST client for any Kubernetes-compatible API server; Status bodies become our errors."""
