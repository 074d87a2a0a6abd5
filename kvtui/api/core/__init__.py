"""Kinds of Kubernetes itself, as far as kvtui reads them."""
