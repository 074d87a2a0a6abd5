"""Small files that a guest's firmware reads at boot: ACPI tables out of Secrets, an Ignition configuration.

Source: https://libvirt.org/formatdomain.html#acpi, https://coreos.github.io/ignition/supported-platforms/
"""

from __future__ import annotations

import os
from pathlib import Path

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.client.rest import Client
from kvtui.domainxml.qemuargs import IGNITION
from kvtui.errors import InvalidObject
from kvtui.node.identity import QemuUser
from kvtui.node.layout import DomainPaths
from kvtui.node.volumes import configfiles


async def acpi_tables(client: Client, vmi: VirtualMachineInstance, paths: DomainPaths) -> dict[str, bytes]:
    """Tables by their path as QEMU sees it. Raises NotFound, InvalidObject."""
    firmware = vmi.spec.domain.firmware
    acpi = firmware.acpi if firmware else None
    if acpi is None:
        return {}
    secrets = {v.name: v.secret for v in vmi.spec.volumes if v.secret is not None}
    tables = {}
    for kind, name in (("slic", acpi.slic_name_ref), ("msdm", acpi.msdm_name_ref)):
        secret = secrets.get(name or "")
        if not name or secret is None:
            continue
        file = f"{kind}.bin"
        data = await configfiles.secret_data(client, vmi.metadata.namespace, secret.secret_name or "")
        if file not in data:
            raise InvalidObject(f"Secret {secret.secret_name} has no key {file}, which the {kind} table is read from")
        tables[paths.acpi_table(name, file)] = data[file]
    return tables


def ignition(vmi: VirtualMachineInstance) -> bytes | None:
    """The configuration in the annotation; None where the converter passes none on."""
    text = vmi.metadata.annotations.get(IGNITION, "")
    return text.encode() if "ignition" in text else None


def write(path: Path, data: bytes, user: QemuUser) -> None:
    """A file for this QEMU alone; it appears complete. Blocks."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o400)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        if os.geteuid() == 0:
            os.fchown(descriptor, user.uid, user.gid)
    temporary.replace(path)
