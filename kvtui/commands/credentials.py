"""Certificates and kubeconfigs of an engine's parts, made at each start.

The administrator is kubernetes-admin of system:masters; controllers and agents are users of their own with the rights
that the API server's roles give them.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

import yaml

from kvtui.apiserver.auth.roles import CONTROLLER_USER
from kvtui.apiserver.pki import KeyPair, Pki, ensure_pki, issue_client, issue_serving, write_file
from kvtui.commands.engine import EngineDirectory, EngineKind, EngineRecord, NodeRecord

LOOPBACK = "127.0.0.1"


def write_credentials(engine: EngineDirectory, record: EngineRecord) -> None:
    """Everything that the parts of this engine need to know each other."""
    names = ("localhost", LOOPBACK, record.host_address)
    pki = ensure_pki(engine.pki, tuple(dict.fromkeys(names)))
    own = f"https://{LOOPBACK}:{record.port}"
    name = "kvtui" if record.kind is EngineKind.LOCAL else "kvtui-lab"
    write_kubeconfig(engine.kubeconfig, pki, pki.admin, own, name=name, user="kubernetes-admin")
    controllers = pki.pair("controllers")
    issue_client(pki, CONTROLLER_USER, [], controllers)
    write_kubeconfig(engine.controllers_kubeconfig, pki, controllers, own, name=name, user="kubevirt-controller")
    for node in record.nodes:
        _write_node(engine, record, pki, node, name)


def agent_pair(engine: EngineDirectory, node: str) -> KeyPair:
    """The agent's certificate: it serves with it, and is a client of the API server and of other agents with it."""
    return KeyPair(engine.node(node) / "agent.crt", engine.node(node) / "agent.key")


def authority(engine: EngineDirectory, node: str) -> Path:
    return engine.node(node) / "ca.crt"


def _write_node(engine: EngineDirectory, record: EngineRecord, pki: Pki, node: NodeRecord, name: str) -> None:
    place = engine.node(node.name)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    pair = agent_pair(engine, node.name)
    issue_serving(pki, f"system:node:{node.name}", (node.name, node.address), pair, ("system:nodes",))
    write_file(authority(engine, node.name), pki.ca.cert.read_bytes(), 0o644)
    server = f"https://{record.host_address}:{record.port}"
    write_kubeconfig(place / "kubeconfig", pki, pair, server, name=name, user=f"system:node:{node.name}")


def write_kubeconfig(path: Path, pki: Pki, pair: KeyPair, server: str, *, name: str, user: str) -> None:
    """A kubeconfig that needs no other file, mode 0600."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": _data(pki.ca.cert)}}],
        "users": [
            {
                "name": user,
                "user": {"client-certificate-data": _data(pair.cert), "client-key-data": _data(pair.key)},
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user, "namespace": "default"}}],
        "current-context": name,
    }
    write_file(path, yaml.safe_dump(document, sort_keys=False).encode(), 0o600)
    os.chmod(path, 0o600)


def _data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
