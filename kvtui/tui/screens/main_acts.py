"""Doing things on the main screen: actions with their confirmations, dialogs, copying, popups."""

from __future__ import annotations

import yaml
from textual import work

from kvtui.api.kubevirt.migration import MigrationPolicy
from kvtui.api.wire import ObjectKey
from kvtui.errors import KvtuiError
from kvtui.tui.columns.cell import Cell, Line, Tone, duration, fit, line, local_clock
from kvtui.tui.commands import INSTEAD, of_action
from kvtui.tui.details import pages
from kvtui.tui.details.common import heading, yaml_lines
from kvtui.tui.keymap import Command
from kvtui.tui.model import preflight, requests
from kvtui.tui.model.actions import Action, Choice, Consequences, Level, level_for, unavailable
from kvtui.tui.model.journal import Outcome, Severity
from kvtui.tui.model.rows import AnyRow, EventRow, NodeRow, VmRow
from kvtui.tui.model.runner import explain
from kvtui.tui.screens.confirm import Confirm
from kvtui.tui.screens.main_moves import Moves
from kvtui.tui.screens.migrate import Migrate
from kvtui.tui.screens.picker import Option, Picker
from kvtui.tui.screens.text import Help, TextPopup

_OUTCOME_TONES = {Outcome.DONE: Tone.OK, Outcome.FAILED: Tone.FAIL, Outcome.RUNNING: Tone.BUSY}


class Acts(Moves):
    """Commands that write, and popups about objects."""

    _confirming: tuple[Action, list[AnyRow]] | None = None

    # Actions

    def chosen_rows(self, action: Action) -> list[AnyRow]:
        """The marked objects, else the row under the cursor."""
        marked: list[AnyRow] = self.view.collection.marked()
        if marked and action.run is not None:
            return marked
        return [self.row] if self.row is not None else []

    def act(self, action: Action) -> None:
        """Checks, asks as the level demands, and sends."""
        rows = self.chosen_rows(action)
        situation = self.session.situation()
        first = rows[0] if rows else None
        reason = unavailable(action, first, situation) if len(rows) <= 1 else None
        if len(rows) > 1:
            reasons = [unavailable(action, row, situation) for row in rows]
            rows = [row for row, why in zip(rows, reasons, strict=True) if why is None]
            reason = reasons[0] if not rows else None
        if reason is not None:
            self.say(reason, Severity.WARN)
        elif action.run is None:
            self.act_here(action, first)
        else:
            self._confirm(action, rows)

    def _confirm(self, action: Action, rows: list[AnyRow]) -> None:
        level = level_for(action, rows, self.session.situation())
        if level is Level.NONE:
            self.send(action, rows, level, Choice())
        elif level is Level.PROMPT:
            self._confirming = (action, rows)
            self.asking = f"{action.question or action.label.capitalize()} {rows[0].key}?"
            self.paint_status()
        else:
            self.confirm_in_dialog(action, rows, level)

    def answer_prompt(self, press: str) -> None:
        """The key after a one-line question."""
        confirming, self._confirming, self.asking = self._confirming, None, ""
        if confirming is not None and press in ("y", "Y"):
            self.send(*confirming, Level.PROMPT, Choice())
        elif confirming is not None:
            self.say(f"{confirming[0].undone}: {confirming[1][0].key.name}.")
        self.paint_status()

    @work(group="confirm")
    async def confirm_in_dialog(self, action: Action, rows: list[AnyRow], level: Level) -> None:
        verb = action.question or action.label.capitalize()
        one = len(rows) == 1
        dialog = Confirm(
            f"{verb} {rows[0].key}?" if one else f"{verb} {len(rows)} objects?",
            action.consequences(rows[0]) if one else _together(action, rows),
            button=action.label,
            level=level,
            typed=rows[0].key.name if one else str(len(rows)),
            names=() if one else tuple(str(row.key) for row in rows),
        )
        choice = await self.app.push_screen_wait(dialog)
        if choice is None:
            self.say(f"{action.undone}: {rows[0].key.name if one else f'{len(rows)} objects'}.")
        else:
            self.send(action, rows, level, choice)

    @work(group="send")
    async def send(self, action: Action, rows: list[AnyRow], level: Level, choice: Choice) -> None:
        await self.session.runner.run(action, rows, level, choice)

    def act_here(self, action: Action, row: AnyRow | None) -> None:
        """Actions that the screen carries out itself."""
        match action.id:
            case "vm.console" if isinstance(row, VmRow):
                self.open_console(row.key)
            case "vm.migrate" if isinstance(row, VmRow):
                self.migrate(row)
            case "vm.new":
                self.create_vm()
            case "dv.new":
                self.create_volume()
            case "migration.new":
                self.say("m on a VM starts a migration; 1 goes to the VMs.")
            case "node.vms" if isinstance(row, NodeRow):
                self.do_goto_vms()
            case "event.object" if isinstance(row, EventRow):
                self.go_to_object(row)
            case "event.follow":
                place = self.table.place
                place.follow = not place.follow
                self.say("following: the newest event stays in view" if place.follow else "paused; P follows again")
                if place.follow:
                    self.table.go(0)

    def open_console(self, key: ObjectKey) -> None:
        raise NotImplementedError

    def create_vm(self) -> object:
        raise NotImplementedError

    def create_volume(self) -> object:
        raise NotImplementedError

    @work(group="migrate")
    async def migrate(self, row: VmRow) -> None:
        """Asks where to and sends."""
        asked = {n.key.name: n.memory for n in self.session.views.nodes.rows()}
        targets = preflight.targets(row, self.session.cluster.nodes, asked)
        policy = await self._policy(row)
        dialog = Migrate(str(row.key), preflight.of_vm(row), targets, policy, self.glyphs().of)
        goal = await self.app.push_screen_wait(dialog)
        if goal is None:
            return
        self.say(f"Migrating {row.key.name}...", about=str(row.key))
        try:
            await requests.migrate(self.session.client, row, goal.node)
        except KvtuiError as error:
            self.say(explain("migrate", row.key.name, error), Severity.ERROR, about=str(row.key))
        else:
            self.say(f"migrate {row.key.name}: sent. g m watches it", about=str(row.key))

    async def _policy(self, row: VmRow) -> str:
        """Names of policies that might be in force; the server decides at the start."""
        try:
            found = await self.session.client.list(MigrationPolicy)
        except KvtuiError:
            return ""
        return ", ".join(p.metadata.name for p in found.items)

    def do_undo(self) -> None:
        if not self.session.runner.undo():
            self.say("Nothing waits to be undone.")

    # Popups about the row

    @work(group="popup")
    async def do_actions(self) -> None:
        """All actions for the selection, disabled ones with their reason."""
        situation, row = self.session.situation(), self.row
        options = []
        for action in self.session.actions_of(self.view):
            reason = unavailable(action, row, situation) or ""
            options.append(Option(action.id, action.title or action.label, of_action(action).shown_keys, reason))
        name = row.key.name if row is not None else self.view.title
        chosen = await self.app.push_screen_wait(Picker(f"Actions for {name}", options))
        found = self.session.action(chosen) if chosen is not None else None
        if found is not None:
            self.act(found)

    @work(group="popup")
    async def do_describe(self) -> None:
        row = self.row
        if row is None:
            self.say("nothing is selected")
            return
        views, sight = self.session.views, self.session.sight
        lines = pages.describe(row, views, sight())
        await self.app.push_screen_wait(TextPopup(f"describe {row.key}", lambda: lines, self.glyphs))

    @work(group="popup")
    async def do_yaml(self) -> None:
        row = self.row
        if row is None:
            self.say("nothing is selected")
            return
        lines = yaml_lines(await self.session.live_object(row))
        await self.app.push_screen_wait(TextPopup(f"YAML {row.key}", lambda: lines, self.glyphs))

    @work(exclusive=True, group="live")
    async def load_live(self) -> None:
        """The object for the YAML tab."""
        row = self.row
        if row is not None and self.tab(row) == pages.YAML:
            self.live = (row.key, await self.session.live_object(row))
            self.paint_detail()

    # Copying

    def _copy(self, text: str, what: str = "") -> None:
        self.app.copy_to_clipboard(text)
        self.say(f"Copied {what or text}")

    def do_copy_name(self) -> None:
        if self.row is not None:
            self._copy(self.row.key.name)

    def do_copy_key(self) -> None:
        if self.row is not None:
            self._copy(str(self.row.key))

    def do_copy_ip(self) -> None:
        addresses = self.row.addresses if isinstance(self.row, VmRow) else []
        if addresses:
            self._copy(addresses[0])
        else:
            self.say("it has no address")

    def do_copy_mac(self) -> None:
        row = self.row
        vmi = row.vmi if isinstance(row, VmRow) else None
        macs = [i.mac for i in vmi.status.interfaces if i.mac] if vmi is not None and vmi.status else []
        if macs:
            self._copy(macs[0])
        else:
            self.say("it has no MAC address yet")

    def do_copy_ssh(self) -> None:
        addresses = self.row.addresses if isinstance(self.row, VmRow) else []
        if addresses:
            self._copy(f"ssh {addresses[0]}")
        else:
            self.say("it has no address")

    @work(group="popup")
    async def do_copy_yaml(self) -> None:
        if self.row is not None:
            data = await self.session.live_object(self.row)
            self._copy(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), f"YAML of {self.row.key.name}")

    # Jobs, log, help, palette

    @work(group="popup")
    async def do_jobs(self) -> None:
        keys = frozenset({"r", "x"})
        press = await self.app.push_screen_wait(TextPopup("jobs", self._job_lines, self.glyphs, keys=keys, live=True))
        jobs = self.session.journal.jobs
        if press == "x" and jobs:
            jobs[-1].cancelled = True
            self.say(f"{jobs[-1].title}: no further objects are started")
        elif press == "r":
            self.say("Mark the failed ones and press the key of the action again.")

    def _job_lines(self) -> list[Line]:
        now = self.session.clock()
        lines: list[Line] = []
        for job in reversed(self.session.journal.jobs):
            took = ((job.ended or now) - job.started).total_seconds()
            lines.append(
                line(Cell(job.title, Tone.STRONG), f"   {job.summary()}", Cell(f"   {duration(took)}", Tone.DIM))
            )
            for step in job.steps:
                tone = _OUTCOME_TONES.get(step.outcome, Tone.DIM)
                lines.append(line(Cell(f"  {fit(step.outcome.value, 8)} ", tone), step.name, f"  {step.reason}"))
        return lines or [line(Cell("No jobs in this session.", Tone.DIM))]

    @work(group="popup")
    async def do_log(self) -> None:
        await self.app.push_screen_wait(TextPopup("log", self._log_lines, self.glyphs, live=True))

    def _log_lines(self) -> list[Line]:
        tones = {Severity.ERROR: Tone.FAIL, Severity.WARN: Tone.WARN}
        return [
            line(
                Cell(f"{local_clock(m.at, m.at.tzinfo)}  ", Tone.DIM), Cell(m.text, tones.get(m.severity, Tone.TEXT)),
                Cell(f"   {m.about}" if m.about else "", Tone.DIM),
            )
            for m in reversed(self.session.journal.messages)
        ] or [line(Cell("Nothing was said yet.", Tone.DIM))]  # fmt: skip

    @work(group="popup")
    async def do_help(self) -> None:
        await self.app.push_screen_wait(Help(f"Keys for {self.view.title}", self.help_lines, self.glyphs))

    def help_lines(self, text: str) -> list[Line]:
        """The live bindings, by section; those that contain the text."""
        needle = text.casefold()
        sections: dict[str, list[Command]] = {}
        overridden = self.session.preferences.keys
        for command in self.keymap.commands():
            if needle in f"{command.shown_keys} {command.text} {command.id}".casefold():
                sections.setdefault(command.section or self.view.title, []).append(command)
        lines: list[Line] = []
        for section, commands in sections.items():
            lines += [line(""), heading(section)] if lines else [heading(section)]
            for command in commands:
                own = Cell("  (yours)", Tone.WARN) if command.id in overridden else Cell("")
                keys = command.shown_keys
                lines.append(
                    line(Cell(f"  {keys}", "key"), f"  {command.text}", Cell(f"   {command.id}", Tone.DIM), own)
                )
        return lines or [line(Cell(f"No key contains {text}.", Tone.DIM))]

    @work(group="popup")
    async def do_palette(self) -> None:
        situation, row = self.session.situation(), self.row
        options = [
            Option(
                f"action {a.id}", f"{a.title or a.label}", of_action(a).shown_keys, unavailable(a, row, situation) or ""
            )
            for a in self.session.actions_of(self.view)
        ]
        options += [Option(f"view {v.number}", f"view {v.title}", str(v.number)) for v in self.session.views.all]
        seen = {"palette"}
        options += [
            Option(f"command {c.id}", c.text, c.shown_keys)
            for c in self.keymap.commands()
            if self.session.action(c.id) is None and not c.id.startswith(("later", "move", "view")) and c.id not in seen
        ]
        options += [
            Option(f"object {v.id} {r.key}", f"{v.id} {r.key}")
            for v in self.session.views.all[:4]
            for r in list(v.collection.rows())[:2000]
        ]
        chosen = await self.app.push_screen_wait(Picker("Palette", options))
        if chosen is not None:
            self.from_palette(chosen)

    def from_palette(self, chosen: str) -> None:
        sort, _, rest = chosen.partition(" ")
        match sort:
            case "action" if (action := self.session.action(rest)) is not None:
                self.act(action)
            case "view":
                self.do_view(int(rest))
            case "object":
                view, _, key = rest.partition(" ")
                self.go_view(view, key=ObjectKey.parse(key))
            case _ if (command := self.keymap.find(rest)) is not None:
                self.carry_out(command)

    def carry_out(self, command: Command) -> None:
        raise NotImplementedError

    def later(self, command: Command) -> None:
        """A key of the design whose command is elsewhere for now."""
        row = self.row
        kind = self.view.kind.__name__.lower()
        text = INSTEAD.get(command.label, "")
        name = row.key.name if row is not None else "NAME"
        other = f" Use {text.format(kind=kind, name=name)}." if text else ""
        self.say(f"{command.label}: not in this version.{other}", Severity.WARN)


def _together(action: Action, rows: list[AnyRow]) -> Consequences:
    parts = [action.consequences(row) for row in rows]
    return Consequences(
        happens=(f"{action.label} is sent to {len(rows)} objects, at most 5 at a time.",),
        lost=tuple(dict.fromkeys(text for part in parts for text in part.lost)),
        stays=tuple(dict.fromkeys(text for part in parts for text in part.stays)),
        volumes=tuple(text for part in parts for text in part.volumes),
    )
