"""How the state of an engine is shown: a few lines for people, or JSON."""

from __future__ import annotations

from typing import Any

import click

from kvtui.commands.engine import as_json


def show(state: dict[str, Any], output: str) -> int:
    """Prints the state; exit status 0 when the engine runs and all its nodes are ready, else 1."""
    if output == "json":
        click.echo(as_json(state))
    else:
        for line in lines(state):
            click.echo(line)
    return 0 if state["state"] == "Running" else 1


def lines(state: dict[str, Any]) -> list[str]:
    """One fact a line, names first."""
    facts = [("state", state["state"]), ("data", state["data"])]
    if state.get("server"):
        facts += [("server", state["server"]), ("kubeconfig", state["kubeconfig"])]
        facts.append(("host address", state["hostAddress"]))
    for node in state.get("nodes", []):
        ready = "ready" if node["ready"] else "not ready"
        accelerator = f", {node['accelerator']}" if node["accelerator"] else ""
        facts.append(("node", f"{node['name']}  {node['address']}  {ready}{accelerator}"))
    for process in state.get("processes", []):
        running = f"pid {process['pid']}" if process["running"] else "not running"
        facts.append(("process", f"{process['name']}  {running}"))
    width = max(len(name) for name, _ in facts) + 2
    return [f"{name + ':':<{width}}{value}" for name, value in facts]
