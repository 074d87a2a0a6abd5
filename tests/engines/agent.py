"""An agent on a node of a lab, for a control plane that is not kvtui's: `python -m tests.engines.agent JSON`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from kvtui.client import kubeconfig
from kvtui.node.runner import pod_network, run_agent
from kvtui.settings import NodeSettings


async def _main(order: dict[str, Any]) -> None:
    endpoint = await kubeconfig.load(Path(order["kubeconfig"]))
    settings = NodeSettings(**order["settings"])
    await run_agent(settings, endpoint, network=pod_network((order["pods"],), "kvtui0"))


if __name__ == "__main__":
    asyncio.run(_main(json.loads(sys.argv[1])))
