"""Volumes of a VMI: one module per sort, each turning a volume of the spec into files that QEMU opens."""
