"""Makes, repairs and removes the networks of launchers on one node.

Every step is recorded before it is taken; `attach` and `detach` may be called again at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog

from kvtui.api.kubevirt.domain import Interface
from kvtui.api.kubevirt.vmi import Network, VirtualMachineInstance
from kvtui.node.network import cni, dhcp, names, namespace
from kvtui.node.network.bridges import Bridges
from kvtui.node.network.helper import Helper, processes, stop
from kvtui.node.network.resolver import Resolver, resolver, with_services
from kvtui.node.network.settings import NetworkSettings as NetworkSettings
from kvtui.node.network.settings import default_config
from kvtui.node.network.shell import ip_batch, run
from kvtui.node.network.state import Attachment, Phase, Sandbox, StateDirectory
from kvtui.node.network.types import InvalidNetwork, NetworkFailed, NetworkRequest, Nic, PodNetwork
from kvtui.node.network.wiring import Guest, Wiring, wire
from kvtui.node.pids import Pid

log = structlog.get_logger()
RESOLV_CONF = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))


class Networks:
    """All sandboxes of a node. An async context manager: on exit its tasks end, the sandboxes stay."""

    def __init__(self, directory: Path, settings: NetworkSettings) -> None:
        self.settings = settings
        self.hosts = directory / "hosts"
        """Directory of names for the guests' name servers."""
        # A name server watches only what is there when it starts.
        self.hosts.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._watchers: list[Callable[[], None]] = []
        self._state = StateDirectory(directory)
        self._locks: dict[str, asyncio.Lock] = {}
        self._helpers: dict[tuple[str, str], tuple[Helper, asyncio.Task[None]]] = {}
        self._leases = settings.leases or directory / "leases"
        self._default = default_config(settings, self._leases)
        self.bridges = Bridges(directory / "bridges")

    async def __aenter__(self) -> Self:
        # Helpers of an earlier agent may have died since; those that live are found again.
        for uid in self._state.known():
            sandbox = self._state.load(uid)
            if sandbox is not None and sandbox.phase is Phase.FINISHED and namespace.exists(sandbox.netns):
                self._serve(sandbox)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [task for _, task in self._helpers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._helpers.clear()

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls back when a sandbox has come or gone. Returns what ends that."""
        self._watchers.append(callback)
        return lambda: self._watchers.remove(callback)

    def _tell(self) -> None:
        for callback in self._watchers:
            callback()

    async def known(self) -> list[str]:
        """Uids of Pods for which anything was made on this node."""
        return self._state.known()

    def get(self, uid: str) -> PodNetwork | None:
        """What a finished sandbox looks like."""
        sandbox = self._state.load(uid)
        return sandbox.network if sandbox is not None and sandbox.phase is Phase.FINISHED else None

    async def attach(self, request: NetworkRequest) -> PodNetwork:
        """All networks of a launcher. Raises InvalidNetwork (the spec is wrong), NetworkFailed (try again)."""
        async with self._lock(request.uid):
            sandbox = self._state.load(request.uid)
            if sandbox is not None and sandbox.phase is Phase.FINISHED and namespace.exists(sandbox.netns):
                self._serve(sandbox)
                assert sandbox.network is not None
                return sandbox.network
            if sandbox is not None:
                log.info("half-made sandbox removed", uid=request.uid)
                await self._remove(sandbox)
            sandbox = Sandbox(
                uid=request.uid,
                namespace=request.namespace,
                pod_name=request.pod_name,
                netns=names.netns(request.uid),
                phase=Phase.STARTED,
            )
            self._state.save(sandbox)
            try:
                return await self._make(sandbox, request)
            except (InvalidNetwork, NetworkFailed):
                await self._remove(sandbox)
                raise
            finally:
                self._tell()

    async def detach(self, uid: str) -> None:
        """Everything of a sandbox, finished or not. Raises NetworkFailed when something refuses to go."""
        async with self._lock(uid):
            sandbox = self._state.load(uid)
            if sandbox is not None:
                await self._remove(sandbox)
        self._locks.pop(uid, None)
        self._tell()

    async def vacate(self) -> None:
        """Removes the bridges that plugins made for sandboxes and that nobody uses any more."""
        await self.bridges.remove_unused()

    async def plug(self, uid: str, vmi: VirtualMachineInstance, interface_name: str, config: str) -> Nic:
        """One more secondary network for a running guest. Raises InvalidNetwork, NetworkFailed."""
        async with self._lock(uid):
            sandbox = self._finished(uid)
            assert sandbox.network is not None
            if (nic := sandbox.network.nic(interface_name)) is not None:
                return nic
            interface, network = _pair(vmi, interface_name)
            # Left by an attempt that an end of the agent cut short.
            await self._remove_attachments(sandbox, interface_name)
            try:
                nic = await self._attach_one(sandbox, vmi, interface, network, config)
            except (InvalidNetwork, NetworkFailed):
                await self._remove_attachments(sandbox, interface_name)
                raise
            self._finish(sandbox, (*sandbox.network.nics, nic))
            return nic

    async def unplug(self, uid: str, interface_name: str) -> None:
        """Takes one network away again; unknown names are fine."""
        async with self._lock(uid):
            sandbox = self._finished(uid)
            assert sandbox.network is not None
            await self._remove_attachments(sandbox, interface_name)
            self._finish(sandbox, tuple(n for n in sandbox.network.nics if n.name != interface_name))

    async def open_connection(self, uid: str, port: int, *, udp: bool = False) -> socket.socket:
        """A connected, non-blocking socket to a port of the guest. Raises NetworkFailed."""
        sandbox = self._finished(uid)
        network = sandbox.network
        if network is None or not network.nics or not network.nics[0].guest_ips:
            raise NetworkFailed("the guest has no address yet")
        nic = network.nics[0]
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        if nic.binding == "masquerade":
            # Declared ports limit only what comes from outside, so the guest is reached from inside the pod.
            address = nic.guest_ips[0]
            made = await namespace.open_socket(sandbox.netns, _family(address), kind)
        else:
            address = nic.ips[0]
            made = socket.socket(_family(address), kind | socket.SOCK_NONBLOCK)
        try:
            async with asyncio.timeout(10):
                await asyncio.get_running_loop().sock_connect(made, (address, port))
        except (OSError, TimeoutError) as error:
            made.close()
            raise NetworkFailed(f"port {port} of the guest cannot be reached: {error or 'no answer'}") from error
        return made

    def netns_path(self, uid: str) -> Path:
        return namespace.path(names.netns(uid))

    async def _make(self, sandbox: Sandbox, request: NetworkRequest) -> PodNetwork:
        pairs = [_pair(request.vmi, i.name) for i in request.vmi.spec.domain.devices.interfaces if i.state != "absent"]
        await namespace.create(sandbox.netns)
        nics = []
        if not any(_is_primary(network) for _, network in pairs):
            # A launcher without pod NIC still has a pod address, for probes and for its own use.
            await ip_batch(["link set dev lo up"], netns=sandbox.netns)
            await self._pod_address(sandbox)
        for interface, network in pairs:
            config = self._default if network.pod is not None else request.attachments.get(network.name, "")
            nics.append(await self._attach_one(sandbox, request.vmi, interface, network, config))
        return self._finish(sandbox, tuple(nics))

    async def _pod_address(self, sandbox: Sandbox) -> None:
        attachment = Attachment(
            network="", interface="", pod_interface=names.PRIMARY, config=self._default, default_name="kvtui"
        )
        sandbox.attachments.append(attachment)
        self._state.save(sandbox)
        await self._plug_plugin(sandbox, attachment)

    async def _plug_plugin(self, sandbox: Sandbox, attachment: Attachment) -> None:
        config = self._parse(attachment.config, attachment.default_name)
        self.bridges.expect(config)
        attachment.result = await cni.add(
            config, _container(sandbox, attachment), mac=attachment.mac, timeout=self.settings.cni_timeout
        )
        self._state.save(sandbox)
        if port := cni.default_vlan_port(config, attachment.result):
            # Not being in it already is fine.
            await run("bridge", "vlan", "delete", "dev", port, "vid", "1", check=False)

    async def _attach_one(
        self,
        sandbox: Sandbox,
        vmi: VirtualMachineInstance,
        interface: Interface,
        network: Network,
        config_text: str,
    ) -> Nic:
        default_name = network.multus.network_name.rpartition("/")[2] if network.multus is not None else "kvtui"
        attachment = Attachment(
            network=network.name,
            interface=interface.name,
            pod_interface=names.pod_interface(network.name, primary=_is_primary(network)),
            config=config_text,
            default_name=default_name,
            mac=interface.mac_address or "" if network.pod is None else "",
            index=_free({a.index for a in sandbox.attachments}),
        )
        self._check_mac(sandbox, attachment, interface)
        sandbox.attachments.append(attachment)
        self._state.save(sandbox)
        await self._plug_plugin(sandbox, attachment)
        mtu = await namespace.mtu(sandbox.netns, attachment.pod_interface)
        pod = cni.pod_nic(attachment.result, attachment.pod_interface, mtu)
        guest = Guest(
            vmi.metadata.uid, vmi.metadata.namespace, vmi.metadata.name, vmi.spec.hostname or vmi.metadata.name
        )
        known = next((i.mac for i in vmi.status.interfaces if i.name == interface.name), None) if vmi.status else None
        names_here = self._resolver(vmi)
        wiring = wire(sandbox.uid, attachment.index, interface, network, pod, guest, names_here, known_mac=known or "")
        if wiring.lease is not None:
            attachment.dhcp = dhcp.arguments(wiring.lease, interface.dhcp_options)
        await self._do(sandbox, wiring)
        self._state.save(sandbox)
        self._serve_one(sandbox, attachment)
        return wiring.nic

    async def _do(self, sandbox: Sandbox, wiring: Wiring) -> None:
        works: list[Coroutine[Any, Any, object]] = [self._link(sandbox, wiring)]
        if wiring.nft:
            # Rules name links that need not be there yet.
            where = f"--net={namespace.path(sandbox.netns)}"
            works.append(run("nsenter", where, "nft", "-f", "-", stdin=wiring.nft))
        await _together(works)

    async def _link(self, sandbox: Sandbox, wiring: Wiring) -> None:
        await ip_batch(list(wiring.node_links))
        await ip_batch(list(wiring.pod_links), netns=sandbox.netns)
        if wiring.placeholder:
            await _place(sandbox.netns, wiring.placeholder)
        if wiring.sysctls:
            await namespace.set_sysctls(sandbox.netns, wiring.sysctls)

    def _finish(self, sandbox: Sandbox, nics: tuple[Nic, ...]) -> PodNetwork:
        primary = next((a for a in sandbox.attachments if a.pod_interface == names.PRIMARY), None)
        ips: tuple[str, ...] = ()
        if primary is not None:
            pod = cni.pod_nic(primary.result, names.PRIMARY, 0)
            ips = tuple(address.partition("/")[0] for address in pod.addresses)
        sandbox.network = PodNetwork(uid=sandbox.uid, netns=sandbox.netns, ips=ips, nics=nics)
        sandbox.phase = Phase.FINISHED
        self._state.save(sandbox)
        return sandbox.network

    def _finished(self, uid: str) -> Sandbox:
        sandbox = self._state.load(uid)
        if sandbox is None or sandbox.phase is not Phase.FINISHED:
            raise NetworkFailed("the launcher has no network yet")
        return sandbox

    async def _remove(self, sandbox: Sandbox) -> None:
        failure: NetworkFailed | None = None
        for attachment in reversed(sandbox.attachments):
            try:
                await self._remove_one(sandbox, attachment, whole=True)
            except NetworkFailed as error:
                failure = error
        await namespace.delete(sandbox.netns)
        if failure is not None:
            # The addresses would leak when the record went too.
            raise failure
        self._state.remove(sandbox.uid)

    async def _remove_attachments(self, sandbox: Sandbox, interface: str) -> None:
        for attachment in [a for a in sandbox.attachments if a.interface == interface]:
            await self._remove_one(sandbox, attachment)
            sandbox.attachments.remove(attachment)
            self._state.save(sandbox)

    async def _remove_one(self, sandbox: Sandbox, attachment: Attachment, *, whole: bool = False) -> None:
        """`whole` when the sandbox's namespace goes as well, which takes the links in it."""
        # The kernel takes its time over each link and the plugin over its rules; they do not need each other.
        unlinked = _unlink_node(sandbox, attachment) if whole else _unlink(sandbox, attachment)
        await _together([self._stop_serving(sandbox, attachment), unlinked, self._unplug_plugin(sandbox, attachment)])

    async def _unplug_plugin(self, sandbox: Sandbox, attachment: Attachment) -> None:
        # A plugin whose ADD gave no result has undone it itself; that its DEL fails too must not keep the sandbox.
        forgiven = (InvalidNetwork,) if attachment.result else (InvalidNetwork, NetworkFailed)
        with contextlib.suppress(*forgiven):
            config = self._parse(attachment.config, attachment.default_name)
            await _restore_name(sandbox.netns, attachment.pod_interface)
            await cni.delete(
                config, _container(sandbox, attachment), attachment.result or None, timeout=self.settings.cni_timeout
            )

    # DHCP servers

    def _serve(self, sandbox: Sandbox) -> None:
        for attachment in sandbox.attachments:
            self._serve_one(sandbox, attachment)

    def _serve_one(self, sandbox: Sandbox, attachment: Attachment) -> None:
        key = (sandbox.uid, attachment.network)
        if not attachment.dhcp or key in self._helpers:
            return
        helper = Helper(f"dhcp {sandbox.namespace}/{sandbox.pod_name}", sandbox.netns, attachment.dhcp)
        self._helpers[key] = (helper, asyncio.create_task(helper.run(), name=helper.name))

    async def _stop_serving(self, sandbox: Sandbox, attachment: Attachment) -> None:
        known: Pid | None = None
        if entry := self._helpers.pop((sandbox.uid, attachment.network), None):
            entry[1].cancel()
            await asyncio.gather(entry[1], return_exceptions=True)
            known = entry[0].pid
        if attachment.dhcp:
            for pid in (known,) if known is not None else processes(sandbox.netns, attachment.dhcp):
                await stop(pid)

    def _check_mac(self, sandbox: Sandbox, wanted: Attachment, interface: Interface) -> None:
        """Two guests with one address on one network would take each other's packets. Raises NetworkFailed."""
        if not wanted.mac or interface.bridge is None:
            return
        mac = wanted.mac.lower().replace("-", ":")
        for uid in self._state.known():
            other = self._state.load(uid)
            if other is None:
                continue
            for attachment in other.attachments:
                same = attachment.config == wanted.config and attachment.mac.lower().replace("-", ":") == mac
                if same and (uid, attachment.interface) != (sandbox.uid, wanted.interface):
                    raise NetworkFailed(
                        f"interface {wanted.interface!r}: the MAC address {mac} is in use on this network by "
                        f"{other.namespace}/{other.pod_name}"
                    )

    def _resolver(self, vmi: VirtualMachineInstance) -> Resolver:
        path = next((p for p in RESOLV_CONF if p.exists()), None)
        text = path.read_text(errors="replace") if path is not None else ""
        spec = vmi.spec
        found = resolver(text, spec.dns_policy, spec.dns_config)
        if spec.dns_policy in ("Default", "None"):
            return found
        return with_services(
            found, spec.dns_config, vmi.metadata.namespace, spec.subdomain or "", self.hosts, text, path
        )

    def _parse(self, text: str, default_name: str) -> cni.NetworkConfig:
        return cni.with_lease_directory(cni.parse(text, default_name), self._leases)

    def _lock(self, uid: str) -> asyncio.Lock:
        return self._locks.setdefault(uid, asyncio.Lock())


def _container(sandbox: Sandbox, attachment: Attachment) -> cni.Container:
    args = (("K8S_POD_NAMESPACE", sandbox.namespace), ("K8S_POD_NAME", sandbox.pod_name), ("K8S_POD_UID", sandbox.uid))
    return cni.Container(sandbox.uid, str(namespace.path(sandbox.netns)), attachment.pod_interface, args)


def _pair(vmi: VirtualMachineInstance, name: str) -> tuple[Interface, Network]:
    interface = next((i for i in vmi.spec.domain.devices.interfaces if i.name == name), None)
    network = next((n for n in vmi.spec.networks if n.name == name), None)
    if interface is None or network is None:
        raise InvalidNetwork(f"interface {name!r} and its network must both be in the spec")
    return interface, network


def _free(taken: set[int]) -> int:
    return next(n for n in range(len(taken) + 1) if n not in taken)


def _is_primary(network: Network) -> bool:
    return network.pod is not None or (network.multus is not None and bool(network.multus.default))


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


async def _unlink(sandbox: Sandbox, attachment: Attachment) -> None:
    await _unlink_node(sandbox, attachment)
    if attachment.network and namespace.exists(sandbox.netns):
        await ip_batch([f"link delete {names.pod_bridge(attachment.pod_interface)}"], netns=sandbox.netns, force=True)


async def _unlink_node(sandbox: Sandbox, attachment: Attachment) -> None:
    """The node's side: what has no end in the sandbox any more after the bridge is gone is the kernel's to clear."""
    if attachment.network:
        veth = names.node_veth(sandbox.uid, attachment.network)
        bridge = names.node_bridge(sandbox.uid, attachment.network)
        await ip_batch([f"link delete {veth}", f"link delete {bridge}"], force=True)


async def _together(works: Iterable[Coroutine[Any, Any, object]]) -> None:
    """All at the same time, each to its end. Raises the first one's failure."""
    for result in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


async def _place(netns: str, lines: tuple[str, ...]) -> None:
    """A dummy device in place of the renamed NIC, or a tap where the kernel has no dummy."""
    values: tuple[Mapping[str, str], ...] = (
        {"add": "link add name", "kind": "type dummy"},
        {"add": "tuntap add dev", "kind": "mode tap"},
    )
    try:
        await ip_batch([line.format_map(values[0]) for line in lines], netns=netns)
    except NetworkFailed:
        await ip_batch([line.format_map(values[1]) for line in lines], netns=netns)


async def _restore_name(netns: str, interface: str) -> None:
    """Gives a bridged NIC its name back, so that the plugin that made it finds it."""
    renamed = names.renamed(interface)
    if not namespace.exists(netns):
        return
    status, _, _ = await run("ip", "-n", netns, "link", "show", "dev", renamed, check=False)
    if status == 0:
        lines = [f"link set dev {renamed} down", f"link delete {interface}", f"link set dev {renamed} name {interface}"]
        await ip_batch(lines, netns=netns, force=True)
