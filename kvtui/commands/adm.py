"""`kvtui adm log-verbosity`: how much the parts log, shown, set and reset.

Source: life-cycle facts 9 (virtctl adm log-verbosity).
"""

from __future__ import annotations

from typing import Any

import click

from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.verb import OptionalValue, Verb, example
from kvtui.errors import NotFound, Usage

COMPONENTS = {
    "virt-api": "virtAPI",
    "virt-controller": "virtController",
    "virt-handler": "virtHandler",
    "virt-launcher": "virtLauncher",
    "virt-operator": "virtOperator",
    "virt-synchronization-controller": "virtSynchronizationController",
}
"""Flag -> field of logVerbosity."""
DEFAULT = 2
SHOW = "show"
_ROOT = "/spec/configuration/developerConfiguration/logVerbosity"


@click.group("adm")
def group() -> None:
    """Administration of a KubeVirt installation."""


def _component_options(function: Any) -> Any:
    for name in ("all", *reversed(COMPONENTS)):
        function = click.option(
            f"--{name}", cls=OptionalValue, bare=SHOW, metavar="[=0-9]", help="Show, or with a value set."
        )(function)
    return function


@group.command(
    "log-verbosity",
    cls=Verb,
    epilog=example(
        "kvtui adm log-verbosity --all", "kvtui adm log-verbosity --virt-api=5", "kvtui adm log-verbosity --reset"
    ),
)
@_component_options
@click.option("--reset", is_flag=True, help="All back to the default.")
@server_options
@click.pass_context
def log_verbosity(ctx: click.Context, /, **options: Any) -> None:
    """Show, set or reset how much the parts log."""
    given = {name: options[name.replace("-", "_")] for name in ("all", *COMPONENTS)}
    asked = {name: text for name, text in given.items() if text is not None}
    showing = [name for name, text in asked.items() if text == SHOW]
    setting = {name: _level(name, text) for name, text in asked.items() if text != SHOW}
    if not asked and not options["reset"]:
        raise Usage("no flag specified - expecting at least one flag")
    if showing and (setting or options["reset"]):
        raise Usage("only show or set is allowed")
    run_async(_verbosity(showing, setting, merged(ctx, options)))


def _level(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 9:
        raise Usage(f"{name}: log verbosity must be 0-9")
    return int(text)


async def _verbosity(showing: list[str], setting: dict[str, int], options: dict[str, Any]) -> None:
    from kvtui.api.kubevirt.config import KubeVirt
    from kvtui.client.rest import Patch

    async with connected(options) as (client, _):
        found = (await client.list(KubeVirt)).items
        if not found:
            raise NotFound("no KubeVirt resource in the cluster", code=404, reason="NotFound")
        key = found[0].key
        raw = (await client.raw("GET", f"/apis/kubevirt.io/v1/namespaces/{key.namespace}/kubevirts/{key.name}")).json()
        spec = raw.get("spec") or {}
        configuration = spec.get("configuration") or {}
        developer = configuration.get("developerConfiguration") or {}
        present = developer.get("logVerbosity") or {}
        if showing:
            for name in COMPONENTS if "all" in showing else showing:
                click.echo(f"{name}={present.get(COMPONENTS[name], DEFAULT)}")
            return
        wanted = changed(present, setting, reset=options["reset"])
        patch: list[dict[str, Any]] = []
        if "configuration" not in spec:
            patch.append({"op": "add", "path": "/spec/configuration", "value": {}})
        if "developerConfiguration" not in configuration:
            patch.append({"op": "add", "path": "/spec/configuration/developerConfiguration", "value": {}})
        patch.append({"op": "add", "path": _ROOT, "value": wanted})
        await client.patch(KubeVirt, key, patch, how=Patch.JSON)
    done = "set" if setting else "reset"
    click.echo(f"successfully {'set/reset' if setting and options['reset'] else done} the log verbosity")


def changed(present: dict[str, Any], setting: dict[str, int], *, reset: bool) -> dict[str, Any]:
    """logVerbosity after --all, then the single flags; a reset comes first."""
    wanted = {} if reset else dict(present)
    if "all" in setting:
        wanted |= dict.fromkeys(COMPONENTS.values(), setting["all"])
    return wanted | {COMPONENTS[name]: level for name, level in setting.items() if name != "all"}
