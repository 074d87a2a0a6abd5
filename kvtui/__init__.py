"""kvtui runs KVM virtual machines through the KubeVirt API, from a terminal."""

__version__ = "0.1.0"
