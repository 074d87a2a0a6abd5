"""The main screen: presses become commands, commands become what the mixins do."""

from __future__ import annotations

from textual import events, work
from textual.timer import Timer

from kvtui.api.wire import ObjectKey
from kvtui.errors import KvtuiError, Usage
from kvtui.tui.details import pages
from kvtui.tui.keymap import Command, Continue, press_of
from kvtui.tui.model.cluster import Link
from kvtui.tui.model.collection import Change
from kvtui.tui.model.command_line import Instruction, complete, parse
from kvtui.tui.model.console import ConsoleSession
from kvtui.tui.model.create import VmDraft, VolumeDraft
from kvtui.tui.model.journal import Severity
from kvtui.tui.model.session import Session
from kvtui.tui.screens.console import ConsoleScreen
from kvtui.tui.screens.create import CreateVm
from kvtui.tui.screens.create_volume import CreateVolume
from kvtui.tui.screens.main_acts import Acts
from kvtui.tui.screens.picker import Option, Picker
from kvtui.tui.widgets.object_list import ObjectList
from kvtui.tui.widgets.prompt import PromptLine
from kvtui.tui.wire import forget


class MainScreen(Acts):
    """Lists, detail, bars."""

    def __init__(self, session: Session, first: str = "") -> None:
        """`first` is a command line that is carried out once the screen stands."""
        super().__init__(session)
        self._back = []
        self._forward = []
        self._first = first
        self._rest: Timer | None = None

    def on_mount(self) -> None:
        session = self.session
        session.journal.listeners.append(self.message_came)
        session.cluster.on_health(self._health_changed)
        for view in session.views.all:
            view.collection.flush()
            view.collection.subscribe(self._collection_changed)
        self.show_view(self.view)
        self.set_interval(1.0, self._tick)
        self.call_after_refresh(self.paint)
        if self._first:
            self.call_after_refresh(self.command_done, self._first)

    # Keys

    def on_key(self, event: events.Key) -> None:
        if any(line.asking for line in self.query(PromptLine)):
            return
        event.stop()
        event.prevent_default()
        press = press_of(event.key, event.character)
        if self.asking:
            self.answer_prompt(press)
            return
        self.press(press)

    def press(self, press: str) -> None:
        """One key, as the keymap names it."""
        self.key_pressed()
        if self.presses and press == "esc":
            self._end_chord()
            return
        presses = (*self.presses, press)
        found = self.keymap.resolve(presses)
        if isinstance(found, Continue):
            self.presses, self.options = presses, found
            self.paint_hints()
            return
        self._end_chord()
        if found is None:
            self.say(f"{''.join(presses)} does nothing here. ? shows the keys.", Severity.WARN)
        else:
            self.carry_out(found)

    def _end_chord(self) -> None:
        had, self.presses, self.options = bool(self.presses), (), None
        if had:
            self.paint_hints()

    def carry_out(self, command: Command) -> None:
        """Does what a command says."""
        action = self.session.action(command.id)
        if action is not None and not (self.pane == "detail" and command.keys == "enter"):
            self.act(action)
        elif command.id.startswith("later."):
            self.later(command)
        elif command.id.startswith("view."):
            self.do_view(int(command.id.removeprefix("view.")))
        else:
            do = getattr(self, "do_" + command.id.replace(".", "_").replace("-", "_"))
            result = do()
            if hasattr(result, "__await__") and not hasattr(result, "cancel"):
                self.run_worker(result, group="popup")
        self.paint_status()

    # Layers and leaving

    def do_layer_close(self) -> None:
        collection = self.view.collection
        if self.presses:
            self._end_chord()
        elif collection.filter:
            self.filter_removed()
            self.paint_bars()
        elif collection.marks:
            self.do_mark_none()
        elif self.detail_open or self.pane == "detail":
            self.close_detail()
        elif self.zoomed:
            self.do_zoom()
        elif self._back:
            self.do_nav_back()
        else:
            self.say("This is the base view. q quits.")

    def do_close(self) -> None:
        base = not (self.view.collection.filter or self.view.collection.marks or self.detail_open or self.zoomed)
        if base and self.pane == "list":
            self.do_quit()
        else:
            self.do_layer_close()

    def do_quit(self) -> None:
        self.app.exit()

    def do_cancel(self) -> None:
        for job in self.session.journal.jobs:
            job.cancelled = job.cancelled or job.running
        self.workers.cancel_group(self, "live")
        self.say("Press q to quit.")

    def do_reload(self) -> None:
        self.session.cluster.probe()
        for view in self.session.views.all:
            view.collection.touch_all()
        self.load_rights()
        self.say("Asked the server again.")

    def do_redraw(self) -> None:
        forget(self.app)
        self.refresh(layout=True)
        self.app.refresh()

    def do_suspend(self) -> None:
        self.app.action_suspend_process()

    # Consoles and creating

    def open_console(self, key: ObjectKey) -> None:
        self.show_console(self.session.consoles.open(key))

    @work(group="console")
    async def show_console(self, console: ConsoleSession) -> None:
        await self.app.push_screen_wait(ConsoleScreen(self.session, console, self))
        self.call_after_refresh(self.paint)

    @work(group="popup")
    async def open_consoles(self) -> None:
        consoles = self.session.consoles.sessions
        if not consoles:
            self.say("No console is open. c on a VM opens one.")
            return
        options = [
            Option(str(i), f"{i + 1} {c.key}  {c.state.value}", f"{c.unread} new" if c.unread else "")
            for i, c in enumerate(consoles)
        ]
        chosen = await self.app.push_screen_wait(Picker("Consoles", options))
        if chosen is not None:
            self.show_console(consoles[int(chosen)])

    @work(group="popup")
    async def create_vm(self) -> None:
        draft = VmDraft(namespace=self._namespace())
        created = await self.app.push_screen_wait(CreateVm(self.session, draft))
        if created is not None:
            await self._after_creation(created.key, console=created.open_console)

    @work(group="popup")
    async def create_volume(self) -> None:
        draft = VolumeDraft(namespace=self._namespace())
        key = await self.app.push_screen_wait(CreateVolume(self.session, draft))
        if key is not None:
            self.say(f"Created {key.name}.", about=str(key))
            self._go_when_there(key)

    def _namespace(self) -> str:
        return next(iter(sorted(self.session.namespaces)), self.session.cluster.namespace)

    async def _after_creation(self, key: ObjectKey, *, console: bool) -> None:
        self.say(f"Created {key.name}.", about=str(key))
        self._go_when_there(key)
        if console:
            self.open_console(key)

    def _go_when_there(self, key: ObjectKey) -> None:
        """Puts the cursor on a new row as soon as the watch brings it."""
        collection = self.view.collection
        if self.table.go_to(key):
            return

        def came(change: Change) -> None:
            if key in change.keys and self.table.collection is collection and self.table.go_to(key):
                unsubscribe()

        unsubscribe = collection.subscribe(came)

    # Prompts

    def on_prompt_line_typed(self, message: PromptLine.Typed) -> None:
        if message.purpose == "filter":
            self.filter_typed(message.text)

    def on_prompt_line_done(self, message: PromptLine.Done) -> None:
        self.answered()
        self.key_pressed()
        match message.purpose:
            case "filter":
                self.filter_done(message.text)
            case "search":
                if not self.detail.search(message.text):
                    self.say(f"{message.text} is not in this text", Severity.WARN)
            case "pattern":
                self._mark_pattern(message.text)
            case "command":
                self.command_done(message.text)

    def on_prompt_line_left(self, message: PromptLine.Left) -> None:
        self.answered()
        if message.purpose == "filter":
            self.filter_removed()

    def _mark_pattern(self, pattern: str) -> None:
        collection = self.view.collection
        keys = [collection.key_at(i) for i in range(len(collection)) if pattern in collection.key_at(i).name]
        collection.mark(keys)
        self.say(f"{len(keys)} rows match {pattern}")
        self.paint_bars()

    # Command line

    def do_command(self) -> None:
        self.set_class(True, "-commanding")
        names = [row.key.name for row in self.view.collection.rows()]
        self.query_one("#prompt", PromptLine).ask("command", ":", complete=lambda text: complete(text, names))

    def command_done(self, text: str) -> None:
        if not text.strip(": "):
            return
        try:
            self._instruct(parse(text))
        except Usage as error:
            self.say(str(error), Severity.ERROR)

    def _instruct(self, instruction: Instruction) -> None:
        match instruction.verb:
            case "view":
                if instruction.namespace is not None:
                    self.go_namespaces({instruction.namespace} if instruction.namespace else set())
                self.go_view(instruction.target, filter_text=instruction.filter)
            case "act":
                self._act_on(instruction.target, instruction.arguments)
            case "ns" if instruction.target:
                self.go_namespaces({n for n in instruction.target.split(",") if n not in ("all", "")})
            case "ns":
                self.run_worker(self.do_ns_pick(), group="popup")
            case "sort" if instruction.target:
                self.sort_by(instruction.target)
            case "theme" if instruction.target:
                self._theme(instruction.target)
            case "help" | "jobs" | "log" as name:
                getattr(self, f"do_{name}")()
            case "new":
                self.create_vm()
            case "q":
                self.do_quit()
            case "ctx":
                self.run_worker(self.do_ctx_pick(), group="popup")
            case other:
                raise Usage(f"{other} needs an argument.")

    def _act_on(self, action_id: str, arguments: tuple[str, ...]) -> None:
        action = self.session.action(action_id)
        assert action is not None
        self.go_view(action.view)
        name = arguments[0]
        found = next((row.key for row in self.view.collection.rows() if name in (row.key.name, str(row.key))), None)
        if found is None or not self.table.go_to(found):
            raise Usage(f"{name} is not in this list.")
        self.act(action)

    def _theme(self, name: str) -> None:
        if name not in self.app.available_themes:
            raise Usage(f"No theme {name}. There are: {', '.join(sorted(self.app.available_themes))}")
        self.app.theme = name

    async def do_ctx_pick(self) -> None:
        names = self.session.contexts()
        options = [Option(name, name) for name in names]
        chosen = await self.app.push_screen_wait(Picker("Context", options, current=self.session.cluster.context))
        if chosen is not None and chosen != self.session.cluster.context:
            self.app.exit(result=f"context {chosen}")

    # The world changes

    def _tick(self) -> None:
        """Once a second: ages, clocks and the banner. What reads the same is not sent."""
        if not self.standing:
            return
        self._paint_header()
        if self.is_current:
            self.table.tick()
            if self.session.cluster.health.link is Link.OFFLINE:
                self.paint_status()
            self.paint_detail()

    def _health_changed(self) -> None:
        if not self.standing:
            return
        offline = self.session.cluster.health.link is Link.OFFLINE
        if self.table.stale != offline:
            self.table.stale = offline
            self.table.tick()
        self.paint_bars()

    def _collection_changed(self, change: Change) -> None:
        if self.standing:
            self._paint_tabs()
            self._paint_filter()

    def on_object_list_moved(self, message: ObjectList.Moved) -> None:
        message.stop()
        self.follow_cursor()

    def follow_cursor(self) -> None:
        """The detail pane follows when the cursor has come to rest, so that holding a key stays cheap."""
        if not self.detail_shown:
            return
        if self._rest is not None:
            self._rest.stop()
        delay = self.session.preferences.detail_delay
        if delay > 0:
            self._rest = self.set_timer(delay, self._rested)
        else:
            self._rested()

    def _rested(self) -> None:
        self._rest = None
        self.paint_detail()
        row = self.row
        if row is not None and self.tab(row) == pages.YAML and (self.live is None or self.live[0] != row.key):
            self.load_live()

    @work(exclusive=True, group="rights")
    async def load_rights(self) -> None:
        for namespace in self.session.namespaces or {self.session.cluster.namespace}:
            try:
                await self.session.rights.load(namespace)
            except KvtuiError:
                continue
