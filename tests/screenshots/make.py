"""Writes the pictures in `screenshots/` from the program running on a lab.

    python -m tests.screenshots.make [--kubeconfig DIR/kubeconfig] [--vm NAME] [--out screenshots]

Without a kubeconfig it starts a lab of two nodes with a few VMs and stops it again; with one, a running VM is wanted
there, for its console and its migration. SVG needs nothing; PNG needs `rsvg-convert`.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from textual.pilot import Pilot

from kvtui.api.core.node import Node
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.wire import ObjectKey
from kvtui.client import kubeconfig
from kvtui.client.rest import Client
from kvtui.tui.app import KvtuiApp
from kvtui.tui.model.console import ConsoleState
from kvtui.tui.model.session import Preferences, Session
from kvtui.tui.theme import directories, load_all

SIZE = (120, 36)
RUNNING, HALTED = ("web-01", "web-02", "db-01"), ("build-07", "win-test")
_FONT = "DejaVu Sans Mono"
_SPACING = "0.16px"
"""What the font lacks to the cell width of the drawing."""


async def until(true: Callable[[], bool], seconds: float) -> bool:
    """False when it did not come true in time; the picture then shows what there is."""
    try:
        async with asyncio.timeout(seconds):
            while not true():
                await asyncio.sleep(0.05)
    except TimeoutError:
        return False
    return True


class Camera:
    """Takes pictures of an application."""

    def __init__(self, app: KvtuiApp, pilot: Pilot[str], out: Path) -> None:
        self.app = app
        self.pilot = pilot
        self.out = out

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)
            await self.pilot.pause(0.1)

    async def take(self, name: str) -> None:
        await self.pilot.pause(0.6)
        path = self.out / f"{name}.svg"
        path.write_text(drawable(self.app.export_screenshot(title="kvtui")), encoding="utf-8")
        if (tool := shutil.which("rsvg-convert")) is not None:
            subprocess.run([tool, "--width", "1200", "--output", path.with_suffix(".png"), path], check=True)
        print(path)


def drawable(svg: str) -> str:
    """Without web fonts, and with blanks that every renderer keeps."""
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code, monospace", f"'{_FONT}', monospace; letter-spacing: {_SPACING}")
    return svg.replace("<text ", '<text xml:space="preserve" ')


async def shoot(path: Path, vm: str, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    async with Client(await kubeconfig.load(path)) as client:
        session = Session(client, Preferences(detail_delay=0), lambda: datetime.now().astimezone())
        app = KvtuiApp(session, load_all(directories()))
        async with app.run_test(size=SIZE) as pilot:
            camera = Camera(app, pilot, out)
            await until(lambda: session.cluster.synced and bool(session.cluster.nodes), 20)
            await pilot.pause(2.5)
            await camera.take("vms")
            await camera.press("n", "8")
            await camera.press("escape", "2")
            await camera.take("create")
            await camera.press("escape", "escape", "question_mark")
            await camera.take("help")
            await camera.press("escape", "4")
            await camera.take("nodes")
            await camera.press("5")
            await camera.take("events")
            await camera.press("2")
            await camera.take("datavolumes")
            await camera.press("3")
            await camera.take("migrations")
            await camera.press("1")
            if session.cluster.informer(VirtualMachine).get(("default", vm)) is not None:
                await of_vm(camera, session, ObjectKey("default", vm))
            app.theme = "light"
            await camera.take("vms-light")


async def of_vm(camera: Camera, session: Session, key: ObjectKey) -> None:
    """The console of a VM and the dialog that moves it."""
    await camera.press("colon", *f"console {key.name}", "enter")
    await until(lambda: bool(session.consoles.sessions), 5)
    if session.consoles.sessions:
        console = session.consoles.sessions[0]
        await until(lambda: console.state is ConsoleState.LIVE and console.received > 0, 10)
        await camera.take("console")
        await camera.press("ctrl+right_square_bracket", "m")
        await camera.take("migrate")
        await camera.press("escape", "ctrl+right_square_bracket", "full_stop")


@contextmanager
def lab() -> Iterator[Path]:
    """The kubeconfig of a lab with VMs."""
    with tempfile.TemporaryDirectory(prefix="kvpictures-") as directory:
        data = Path(directory) / "lab"
        run("lab", "start", "--nodes", "2", "--data", str(data))
        try:
            image = asyncio.run(lab_image(data / "kubeconfig"))
            for name in (*RUNNING, *HALTED):
                strategy = "Always" if name in RUNNING else "Halted"
                volume = f"type:http,size:64Mi,url:{image},name:{name}-root"
                sizes = ("--memory", "160Mi", "--volume-import", volume)
                run("create", "vm", "--data", str(data), "--name", name, "--run-strategy", strategy, *sizes, "--apply")
            kubectl = ["kubectl", "--kubeconfig", str(data / "kubeconfig"), "wait", "--timeout=240s"]
            for name in RUNNING:
                subprocess.run([*kubectl, f"vm/{name}", "--for=condition=Ready"], check=True)
            yield data / "kubeconfig"
        finally:
            run("lab", "stop", "--data", str(data))


async def lab_image(path: Path) -> str:
    """Where the lab serves its guest image."""
    async with Client(await kubeconfig.load(path)) as client:
        nodes = (await client.list(Node)).items
    return next(n.metadata.annotations["kvtui.io/lab-image"] for n in nodes)


def run(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "kvtui", *words], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kubeconfig", type=Path)
    parser.add_argument("--vm", default=RUNNING[0])
    parser.add_argument("--out", type=Path, default=Path("screenshots"))
    chosen = parser.parse_args()
    if chosen.kubeconfig is not None:
        asyncio.run(shoot(chosen.kubeconfig, chosen.vm, chosen.out))
        return 0
    with lab() as path:
        asyncio.run(shoot(path, chosen.vm, chosen.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
