"""VirtualMachineInstance -> libvirt <domain>. Pure: values in, elements out.

`convert` gives what upstream's converter gives; `finish` makes it the domain of this node.
"""

from kvtui.domainxml.builder import convert, domain_name
from kvtui.domainxml.context import BlockSizes, Cluster, Context, HostCell, Smbios, cluster_of
from kvtui.domainxml.elements import pretty, to_text
from kvtui.domainxml.errors import ConversionError, UnsupportedDevice
from kvtui.domainxml.finish import finish
from kvtui.domainxml.hotplug import (
    disk_xml,
    interface_xml,
    matching_sources,
    memory_device_xml,
    resized_memory,
    tuning_xml,
)
from kvtui.domainxml.metadata import Ownership, ownership_of
from kvtui.domainxml.paths import Paths, UpstreamPaths
from kvtui.domainxml.placement import Attachment, Bridged, DiskFacts, Passt, Placement, Tapped, UserMode
from kvtui.domainxml.ports import placeholder_count, settle

__all__ = [
    "Attachment",
    "BlockSizes",
    "Bridged",
    "Cluster",
    "Context",
    "ConversionError",
    "DiskFacts",
    "HostCell",
    "Ownership",
    "Passt",
    "Paths",
    "Placement",
    "Smbios",
    "Tapped",
    "UnsupportedDevice",
    "UpstreamPaths",
    "UserMode",
    "cluster_of",
    "convert",
    "disk_xml",
    "domain_name",
    "finish",
    "interface_xml",
    "matching_sources",
    "memory_device_xml",
    "ownership_of",
    "placeholder_count",
    "pretty",
    "resized_memory",
    "settle",
    "to_text",
    "tuning_xml",
]
