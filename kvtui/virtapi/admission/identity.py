"""Who is a component of KubeVirt: only those may write VMI status, reserved labels and hot-plugged specs.

Upstream's components are service accounts of the KubeVirt namespace. Here a node's agent has the handler's duties and
comes with its node certificate, system:node:<name>.
Source: control plane facts 1.4 and 5.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvtui.api.admission import UserInfo

COMPONENTS = ("apiserver", "controller", "handler", "synchronization-controller")
NODE_USER = "system:node:"
NODE_GROUP = "system:nodes"
NODE_NAME_EXTRA = "authentication.kubernetes.io/node-name"


def account(component: str, namespace: str) -> str:
    return f"system:serviceaccount:{namespace}:kubevirt-{component}"


def is_agent(user: UserInfo) -> bool:
    return user.username.startswith(NODE_USER) and NODE_GROUP in user.groups


def is_component(user: UserInfo, namespace: str) -> bool:
    return user.username in {account(component, namespace) for component in COMPONENTS} or is_agent(user)


def is_controller(user: UserInfo, namespace: str) -> bool:
    return user.username == account("controller", namespace)


def is_handler(user: UserInfo, namespace: str) -> bool:
    return user.username == account("handler", namespace) or is_agent(user)


def node_of(user: UserInfo) -> str:
    """The node a handler speaks for; empty when its credentials do not say."""
    if is_agent(user):
        return user.username.removeprefix(NODE_USER)
    named = user.extra.get(NODE_NAME_EXTRA) or []
    return named[0] if named else ""
