"""VirtualMachineInstance -> libvirt <domain>. Pure: values in, elements out.

`convert` gives what upstream's converter gives; `finish` makes it the domain of this node.
"""

from kvtui.domainxml.builder import convert, domain_name
from kvtui.domainxml.context import BlockSizes, Cluster, Context, HostCell, Smbios, cluster_of
from kvtui.domainxml.elements import pretty, to_text
from kvtui.domainxml.errors import ConversionError, UnsupportedDevice
from kvtui.domainxml.paths import Paths, UpstreamPaths

__all__ = [
    "BlockSizes",
    "Cluster",
    "Context",
    "ConversionError",
    "HostCell",
    "Paths",
    "Smbios",
    "UnsupportedDevice",
    "UpstreamPaths",
    "cluster_of",
    "convert",
    "domain_name",
    "pretty",
    "to_text",
]
