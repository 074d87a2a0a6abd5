"""The server as a whole: opens the store, serves TLS, runs the housekeeping, ends cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import structlog
from aiohttp import web

from kvtui.api.admission import Admission, UserInfo
from kvtui.apiserver import bootstrap, listening, status
from kvtui.apiserver.aggregation import RoleAggregation
from kvtui.apiserver.audit import Audit
from kvtui.apiserver.auth.identity import AUTHENTICATED, Authenticator
from kvtui.apiserver.auth.rbac import MASTERS, Authorizer
from kvtui.apiserver.auth.tokens import Tokens
from kvtui.apiserver.builtin import BUILTIN, SHORT_HISTORY
from kvtui.apiserver.certificates import ServingCertificate
from kvtui.apiserver.collector import GarbageCollector
from kvtui.apiserver.connections import IDLE, Connections
from kvtui.apiserver.customs import CustomResources
from kvtui.apiserver.database import DatabaseBroken
from kvtui.apiserver.dispatch import Dispatcher
from kvtui.apiserver.endpoints import usage
from kvtui.apiserver.endpoints.application import Application
from kvtui.apiserver.endpoints.health import Metrics
from kvtui.apiserver.endpoints.logs import Agents
from kvtui.apiserver.endpoints.reviews import Reviews
from kvtui.apiserver.endpoints.scraping import NOTHING, Source
from kvtui.apiserver.extension import Extension
from kvtui.apiserver.listening import Listener
from kvtui.apiserver.lookups import Lookups
from kvtui.apiserver.namespaces import NamespaceLifecycle
from kvtui.apiserver.objects import Objects
from kvtui.apiserver.pki import Pki, ensure_pki
from kvtui.apiserver.plugins.escalation import Escalation
from kvtui.apiserver.plugins.event_rate import EventRate
from kvtui.apiserver.plugins.mutations import Mutations
from kvtui.apiserver.plugins.node_restriction import NodeRestriction
from kvtui.apiserver.plugins.pods import LimitRanges, Priority, ServiceAccounts
from kvtui.apiserver.plugins.policies import Policies
from kvtui.apiserver.plugins.quota import Quota
from kvtui.apiserver.plugins.webhooks import Webhooks
from kvtui.apiserver.plugins.workers import WorkerPods
from kvtui.apiserver.presence import Presence, advertised
from kvtui.apiserver.protection import VolumeProtection
from kvtui.apiserver.quotas import QuotaStatus
from kvtui.apiserver.resources import Resources
from kvtui.apiserver.router import Target
from kvtui.apiserver.store import HistoryLimits, Store
from kvtui.apiserver.upkeep import Upkeep
from kvtui.apiserver.watch import WatchHub
from kvtui.controlloop.exposition import Family, gauge
from kvtui.settings import ApiServerSettings

log = structlog.get_logger()
_LOOPBACK = ("localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
_SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that waits for the interpreter gets it: the database thread must not wait for long."""
_SHUTDOWN = 5.0


class ApiServer:
    """One engine's API. `run()` serves until cancelled."""

    def __init__(
        self,
        settings: ApiServerSettings,
        *,
        admission: Sequence[Admission] = (),
        extensions: Sequence[Extension] = (),
        lookups: Lookups | None = None,
        scraped: Mapping[str, Source] = NOTHING,
    ) -> None:
        """`lookups` are opened at the start, for admission that asks the server itself; `scraped` are metrics of
        other parts, see the module `scraping`."""
        self.settings = settings
        self._admission = tuple(admission)
        self._extensions = tuple(extensions)
        self._lookups = lookups
        self._scraped = scraped
        self.ready = asyncio.Event()
        self.port = settings.port
        """The real port, once `ready`."""

    @property
    def url(self) -> str:
        """https://host:port, once `ready`."""
        host = self.settings.host
        return f"https://[{host}]:{self.port}" if ":" in host else f"https://{host}:{self.port}"

    async def run(self) -> None:
        """Raises DatabaseBroken, OSError (port in use) or ssl.SSLError at start."""
        settings = self.settings
        sys.setswitchinterval(_SWITCH_INTERVAL)
        settings.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.directory.chmod(0o700)
        os.umask(0o077)
        names = self._names()
        pki = await asyncio.to_thread(ensure_pki, settings.pki, names)
        async with self._store() as store:
            await self._serve(store, pki, names)

    def _names(self) -> tuple[str, ...]:
        hosts = (self.settings.host, *self.settings.more_hosts)
        named = [h for h in hosts if h not in ("0.0.0.0", "::")]  # noqa: S104
        return tuple(dict.fromkeys((*_LOOPBACK, *named, *self.settings.names, socket.gethostname().lower())))

    @contextlib.asynccontextmanager
    async def _store(self) -> AsyncIterator[Store]:
        settings = self.settings
        limits = HistoryLimits(
            age=settings.history_seconds, events=settings.history_events, bytes=settings.history_bytes
        )
        started = time.monotonic()
        store = Store(settings.directory / "state.db", limits=limits, max_bytes=settings.max_database)
        try:
            for name in SHORT_HISTORY:
                store.bucket(name).short_history = True
            store.load()
            gc.freeze()  # what is loaded stays: the collector need not look at it again
            log.info("store loaded", revision=store.revision, seconds=round(time.monotonic() - started, 3))
            yield store
        finally:
            await store.close()

    async def _serve(self, store: Store, pki: Pki, names: tuple[str, ...]) -> None:
        settings = self.settings
        resources = Resources(BUILTIN)
        hub = WatchHub(store, queue_limit=settings.watch_queue)
        CustomResources(store, resources, hub.end_all)
        authorizer = Authorizer(store)
        if self._lookups is not None:
            self._lookups.open(store, authorizer)
        webhooks = Webhooks(store, resources)
        later = (Mutations(store, resources), webhooks)
        plugins = (*_plugins(store, resources, authorizer), *self._admission, *later)
        objects = Objects(store, resources, admission=plugins)
        tokens = Tokens(pki.token_key)
        authenticator = Authenticator(store, tokens, clock=time.time, static=self._static_tokens())
        metrics = Metrics(_served(resources, self._extensions))
        agents = Agents(pki)
        audit = Audit(settings.audit_log)
        connections = Connections(settings.max_connections, of_user=settings.max_connections_per_user)
        application = Application(
            objects,
            hub,
            tokens,
            Reviews(authenticator, authorizer),
            metrics,
            agents,
            extensions=self._extensions,
            checks={"ping": lambda: True, "store": lambda: not store.broken.done(), "bootstrap": self.ready.is_set},
            gauges=lambda: _gauges(store, hub, audit),
            scraped=self._scraped,
        )
        dispatcher = Dispatcher(
            settings,
            authenticator,
            authorizer,
            application.handle,
            extensions=self._extensions,
            hosts=frozenset(n.lower() for n in names),
            audit=audit,
            metrics=metrics,
            connections=connections,
        )
        audit.open()
        try:
            await bootstrap.install(objects, definitions=settings.install_crds)
            certificate = ServingCertificate(pki, names)
            runner, listeners = await self._listen(dispatcher, certificate, connections)
            try:
                async with asyncio.TaskGroup() as tasks:
                    for listener in listeners:
                        tasks.create_task(listener.run(), name="listener")
                    tasks.create_task(certificate.run(), name="serving certificate")
                    tasks.create_task(audit.run(), name="audit")
                    tasks.create_task(
                        self._run_tasks(objects, hub, metrics, application, connections), name="housekeeping"
                    )
            finally:
                hub.end_all()
                await runner.cleanup()
        finally:
            await agents.close()
            await webhooks.close()
            audit.close()

    async def _run_tasks(
        self, objects: Objects, hub: WatchHub, metrics: Metrics, application: Application, connections: Connections
    ) -> None:
        store = objects.store
        namespaces = NamespaceLifecycle(objects, self._ca_text())
        roles = RoleAggregation(objects)
        hosts = (self.settings.host, *self.settings.more_hosts)
        presence = Presence(objects, application.extensions, advertised(hosts), self.port)
        await namespaces.fill()
        await roles.settle()
        await presence.settle()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(GarbageCollector(objects).run(), name="garbage collector")
            tasks.create_task(VolumeProtection(objects).run(), name="volume protection")
            tasks.create_task(QuotaStatus(objects).run(), name="quota status")
            tasks.create_task(roles.run(), name="role aggregation")
            tasks.create_task(namespaces.run(), name="namespace lifecycle")
            tasks.create_task(presence.run(), name="presence")
            tasks.create_task(Upkeep(objects, hub, metrics, self.settings).run(), name="upkeep")
            tasks.create_task(_fail_when_broken(store), name="database watch")
            tasks.create_task(connections.run(), name="connections")
            tasks.create_task(application.warm(), name="documents")
            self.ready.set()
            log.info("serving", url=self.url)

    def _ca_text(self) -> str:
        return Pki(self.settings.pki).ca.cert.read_text()

    def _static_tokens(self) -> Mapping[str, UserInfo]:
        if not self.settings.admin_token:
            return {}
        digest = hashlib.sha256(self.settings.admin_token.encode()).hexdigest()
        return {digest: UserInfo("kubernetes-admin", groups=(MASTERS, AUTHENTICATED))}

    async def _listen(
        self, dispatcher: Dispatcher, certificate: ServingCertificate, connections: Connections
    ) -> tuple[web.AppRunner, list[Listener]]:
        settings = self.settings
        app = web.Application(client_max_size=status.MAX_BODY)
        app.router.add_route("*", "/{path:.*}", dispatcher.handle)
        runner = web.AppRunner(
            app,
            handle_signals=False,
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=IDLE,
            max_line_size=16 * 1024,
            max_field_size=32 * 1024,
            lingering_time=1.0,
            shutdown_timeout=_SHUTDOWN,
        )
        await runner.setup()
        assert runner.server is not None
        factory = connections.factory(runner.server)
        sockets: list[socket.socket] = []
        try:
            for host in (settings.host, *settings.more_hosts):
                sockets += listening.bind(host, self.port)
                self.port = self.port or sockets[0].getsockname()[1]
        except OSError:
            for opened in sockets:
                opened.close()
            await runner.cleanup()
            raise
        return runner, [Listener(opened, factory, certificate.context) for opened in sockets]


def _plugins(store: Store, resources: Resources, authorizer: Authorizer) -> tuple[Admission, ...]:
    """In the order in which they see a write; quota comes last, when everything else is decided."""
    return (
        EventRate(),
        NodeRestriction(store, authorizer.nodes.graph),
        WorkerPods(),
        Priority(store),
        LimitRanges(store),
        ServiceAccounts(store),
        Escalation(authorizer),
        Policies(store, resources),
        Quota(store),
    )


async def _fail_when_broken(store: Store) -> None:
    error = await asyncio.shield(store.broken)
    raise DatabaseBroken(str(error)) from error


def _gauges(store: Store, hub: WatchHub, audit: Audit) -> list[Family]:
    counts = [({"resource": b.name}, len(b.records)) for b in store.buckets]
    return [
        gauge("apiserver_storage_objects", "Objects by kind.", counts),
        gauge("apiserver_registered_watchers", "Open watches.", [({}, hub.count)]),
        gauge("apiserver_storage_size_bytes", "Size of the database.", [({}, store.size())]),
        gauge("kvtui_store_revision", "The newest resourceVersion.", [({}, store.revision)]),
        gauge("kvtui_audit_lines_lost", "Lines of the audit log that could not be written.", [({}, audit.dropped)]),
    ]


def _served(resources: Resources, extensions: Sequence[Extension]) -> Callable[[Target], bool]:
    """Whether a request is about a resource, and perhaps a subresource, that this server has."""
    versions = [gv for e in extensions for gv in e.group_versions]
    beside = {(gv.group, gv.version, str(r.get("name", ""))) for gv in versions for r in gv.resources}
    beside |= {(usage.GROUP, usage.VERSION, name) for name in ("nodes", "pods")}

    def known(target: Target) -> bool:
        words = "/".join(filter(None, (target.resource, target.full_subresource)))
        if (target.group, target.version, words) in beside:
            return True
        info = resources.find(target.group, target.version, target.resource)
        return info is not None and (not target.subresource or info.subresource(target.subresource) is not None)

    return known


async def serve(
    settings: ApiServerSettings, admission: Sequence[Admission] = (), extensions: Sequence[Extension] = ()
) -> None:
    """Runs a server until cancelled."""
    await ApiServer(settings, admission=admission, extensions=extensions).run()
