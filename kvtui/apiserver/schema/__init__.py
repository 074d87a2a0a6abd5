"""Schemas at run time: defaulting, pruning, validation, CEL rules and OpenAPI documents, on plain dicts."""
