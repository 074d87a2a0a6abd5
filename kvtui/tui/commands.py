"""The commands that every view has. Help, hints and palette are made from this list."""

from __future__ import annotations

from kvtui.tui.keymap import Command
from kvtui.tui.model.actions import Action

EVERYWHERE = "Everywhere"
MOVEMENT = "Movement and marks"
OBJECTS = "Objects"
TEXT = "Text panes"

GLOBAL: tuple[Command, ...] = (
    Command("filter", "/", "filter", "filter the list", OBJECTS, hint=True),
    Command("mark.toggle", "space", "mark", "mark and go down", MOVEMENT, hint=True),
    Command("actions", "a", "all actions", "all actions for the selection", OBJECTS, hint=True),
    Command("command", ":", "command", "command line", EVERYWHERE, hint=True),
    Command("palette", "ctrl+p", "palette", "search actions, views and objects", EVERYWHERE, hint=True),
    Command("help", "?,f1", "help", "keys for this view", EVERYWHERE, hint=True),
    *(Command(f"view.{n}", str(n), f"view {n}", f"go to view {n}", EVERYWHERE) for n in range(1, 10)),
    Command("ns.all", "0", "all namespaces", "toggle all namespaces", EVERYWHERE),
    Command("ns.pick", "N", "namespace", "pick a namespace", EVERYWHERE),
    Command("ctx.pick", "@", "context", "pick a context", EVERYWHERE),
    Command("focus.next", "tab", "next pane", "", EVERYWHERE),
    Command("focus.prev", "shift+tab", "previous pane", "", EVERYWHERE),
    Command("tab.prev", "[", "previous tab", "", EVERYWHERE),
    Command("tab.next", "]", "next tab", "", EVERYWHERE),
    Command("nav.back", "<", "back", "back to the place before", EVERYWHERE),
    Command("nav.forward", ">", "forward", "forward again", EVERYWHERE),
    Command("zoom", "z", "zoom", "zoom the pane", EVERYWHERE),
    Command("split", "=", "split", "next layout", EVERYWHERE),
    Command("layer.close", "esc", "back", "close the top layer", EVERYWHERE),
    Command("close", "q", "close", "close, or quit on the base view", EVERYWHERE),
    Command("quit", "ctrl+q", "quit", "", EVERYWHERE),
    Command("cancel", "ctrl+c", "stop waiting", "stop the current wait; never quits", EVERYWHERE),
    Command("reload", "ctrl+r", "reload", "ask the server again", EVERYWHERE),
    Command("redraw", "ctrl+l", "redraw", "repaint the screen", EVERYWHERE),
    Command("suspend", "ctrl+z", "suspend", "back to the shell for a while", EVERYWHERE),
    Command("jobs", "!", "jobs", "long operations", EVERYWHERE),
    Command("log", "ctrl+g", "log", "past messages", EVERYWHERE),
    Command("move.down", "j,down", "down", "", MOVEMENT),
    Command("move.up", "k,up", "up", "", MOVEMENT),
    Command("move.left", "h,left", "left", "scroll columns left", MOVEMENT),
    Command("move.right", "l,right", "right", "scroll columns right", MOVEMENT),
    Command("move.first", "g g,home", "first", "", MOVEMENT),
    Command("move.last", "G,end", "last", "", MOVEMENT),
    Command("move.half-down", "ctrl+d", "half a page down", "", MOVEMENT),
    Command("move.half-up", "ctrl+u", "half a page up", "", MOVEMENT),
    Command("move.page-down", "pgdn,ctrl+f", "a page down", "", MOVEMENT),
    Command("move.page-up", "pgup,ctrl+b", "a page up", "", MOVEMENT),
    Command("mark.range", "v", "mark a range", "start or end a range of marks", MOVEMENT),
    Command("mark.all", "*", "mark all", "mark all rows passing the filter", MOVEMENT),
    Command("mark.none", "-", "unmark", "unmark all", MOVEMENT),
    Command("mark.pattern", "+", "mark by pattern", "", MOVEMENT),
    Command("detail", "enter", "open", "open the detail", OBJECTS),
    Command("describe", "d", "describe", "conditions and events", OBJECTS),
    Command("yaml", "y", "YAML", "YAML, read only", OBJECTS),
    Command("copy.name", "Y n", "copy name", "", OBJECTS),
    Command("copy.key", "Y N", "copy namespace/name", "", OBJECTS),
    Command("copy.ip", "Y i", "copy IP", "", OBJECTS),
    Command("copy.mac", "Y m", "copy MAC", "", OBJECTS),
    Command("copy.ssh", "Y s", "copy ssh command", "", OBJECTS),
    Command("copy.yaml", "Y y", "copy YAML", "", OBJECTS),
    Command("sort", "o", "sort", "choose the sort column", OBJECTS),
    Command("sort.reverse", "O", "reverse", "reverse the order", OBJECTS),
    Command("wide", "w", "wide", "as many columns as fit, or the core ones", OBJECTS),
    Command("undo", "u", "undo", "undo a held action", OBJECTS),
    Command("goto.node", "g n", "node", "go to its node", OBJECTS),
    Command("goto.disks", "g d", "disks", "go to its disks", OBJECTS),
    Command("goto.migrations", "g m", "migrations", "go to its migrations", OBJECTS),
    Command("goto.events", "g e", "events", "go to its events", OBJECTS),
    Command("goto.vms", "g v", "VMs", "go to the VMs using it", OBJECTS),
)
"""Order matters for the hint line only."""

LATER: tuple[Command, ...] = tuple(
    Command(f"later.{view}.{keys.replace(' ', '')}", keys, label, label, "Not in this version")
    for view, keys, label in (
        ("any", "e", "edit"), ("any", "E", "edit in $VISUAL"), ("any", "K", "clone"), ("any", "L", "logs"),
        ("any", "f", "facets"), ("any", "W", "choose columns"), ("any", "S", "ssh"), ("any", "t", "snapshot"),
        ("any", "T", "snapshots"), ("any", "F", "port forward"), ("any", "V", "graphical console"),
        ("any", "U", "upload"), ("any", "b", "hardware"), ("any", "R", "resize"), ("any", "g s", "go to storage"),
        ("any", "g k", "go to networks"), ("any", "g o", "go to owner"),
    )
)  # fmt: skip
"""Keys of the interaction design whose command another tool has for now; they say which."""

INSTEAD = {
    "edit": "kubectl edit {kind} {name}",
    "edit in $VISUAL": "kubectl edit {kind} {name}",
    "logs": "kubectl logs, with the name of the launcher or worker Pod",
    "ssh": "virtctl ssh, or c for the console",
    "port forward": "virtctl port-forward",
    "graphical console": "virtctl vnc {name}",
    "upload": "virtctl image-upload",
}


def of_action(action: Action) -> Command:
    """The command that an action's key gives."""
    return Command(action.id, action.keys, action.label, action.title, "", hint=action.hint)
