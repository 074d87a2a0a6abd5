"""Which parts an engine's processes consist of: the one place that knows them all."""

from __future__ import annotations

from collections.abc import Sequence

from kvtui.commands.credentials import agent_pair, authority
from kvtui.commands.engine import EngineDirectory, EngineKind, EngineRecord, NodeRecord
from kvtui.controllers.context import MakeController
from kvtui.settings import ApiServerSettings, ControllerSettings, NodeSettings

AGENT_PORT = 10250
"""Of an agent that has its node's addresses for itself."""


def apiserver_settings(engine: EngineDirectory, record: EngineRecord) -> ApiServerSettings:
    reachable = record.host_address != "127.0.0.1"
    return ApiServerSettings(
        directory=engine.apiserver,
        pki=engine.pki,
        port=record.port,
        more_hosts=(record.host_address,) if reachable else (),
        names=(record.host_address,),
        audit_log=engine.log("audit"),
    )


def controller_settings(engine: EngineDirectory) -> ControllerSettings:
    record = engine.read()
    several = record is not None and len(record.nodes) > 1
    return ControllerSettings(
        shared_storage=str(engine.shared), shared_default=several, metrics_socket=str(engine.controllers_socket)
    )


def node_settings(engine: EngineDirectory, record: EngineRecord, node: NodeRecord, *, uri: str) -> NodeSettings:
    pair = agent_pair(engine, node.name)
    return NodeSettings(
        data=str(engine.data),
        node=node.name,
        address=node.address,
        port=AGENT_PORT if record.kind is EngineKind.LAB else 0,
        libvirt_uri=uri,
        certificate=str(pair.cert),
        key=str(pair.key),
        authority=str(authority(engine, node.name)),
        reserved_cpus=record.reserved_cpus,
    )


def registries_conf(engine: EngineDirectory) -> str:
    """Mirrors of the engine; the reader falls back to those of this machine."""
    return str(engine.registries)


def further_controllers() -> Sequence[MakeController]:
    """Controllers beyond those that the controllers' runner starts by itself."""
    from kvtui.controllers import runner
    from kvtui.controllers.datavolume.controller import DataVolumeController
    from kvtui.controllers.migration.controller import MigrationController
    from kvtui.controllers.migration.evacuation import EvacuationController
    from kvtui.controllers.migration.workloadupdate import WorkloadUpdateController
    from kvtui.controllers.provisioner import ProvisionerController
    from kvtui.controllers.standins.binder import BinderController
    from kvtui.controllers.standins.bootstrap import BootstrapController
    from kvtui.controllers.standins.disruption import DisruptionController
    from kvtui.controllers.standins.nodelifecycle import NodeLifecycleController

    known: set[MakeController] = {*runner.CONTROLLERS, *runner.STANDINS}
    wanted: tuple[MakeController, ...] = (
        BootstrapController,
        DataVolumeController,
        ProvisionerController,
        BinderController,
        MigrationController,
        EvacuationController,
        WorkloadUpdateController,
        DisruptionController,
        NodeLifecycleController,
    )
    return [make for make in wanted if make not in known]
