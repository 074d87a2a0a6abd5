"""Several VM nodes on one machine: namespaces, a libvirtd per node, and a guest image."""
