"""Whether a node is one that a node selector speaks of.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#node-affinity
"""

from __future__ import annotations

from collections.abc import Mapping

from kvtui.api.core.node import Node
from kvtui.api.core.parts import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from kvtui.api.selectors import Requirement


def requirement_holds(requirement: NodeSelectorRequirement, labels: Mapping[str, str]) -> bool:
    match requirement.operator:
        case "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" as operator:
            return Requirement(requirement.key, operator, frozenset(requirement.values)).matches(labels)
    return False


def term_holds(term: NodeSelectorTerm, node: Node) -> bool:
    """An empty term matches nothing."""
    if not term.match_expressions and not term.match_fields:
        return False
    fields = {"metadata.name": node.metadata.name}
    return all(requirement_holds(r, node.metadata.labels) for r in term.match_expressions) and all(
        requirement_holds(r, fields) for r in term.match_fields
    )


def selector_holds(selector: NodeSelector, node: Node) -> bool:
    return any(term_holds(term, node) for term in selector.node_selector_terms)
