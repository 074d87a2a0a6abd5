"""What a conversion refuses, named by the field that asked for it.

ConversionError          Permanent: the spec itself cannot become a domain
└── UnsupportedDevice    this architecture, bus or model has no such device
"""

from __future__ import annotations

from kvtui.errors import Permanent


class ConversionError(Permanent):
    """The VMI cannot become a libvirt domain; `field` is the path below the VMI, such as spec.domain.cpu."""

    hint = "correct the field and apply the virtual machine again"

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class UnsupportedDevice(ConversionError):
    """No such device exists for the guest's architecture."""
