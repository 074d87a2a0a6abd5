"""Live migration between agents: preparation and arrival on the target, the drive and its monitor on the source.

source QEMU ── unix ── source agent ══ mutual TLS ══ target agent ── unix ── target libvirtd, QEMU, NBD
"""
