"""The node agent: a virtual kubelet that realises launchers as libvirt domains and workers as subprocesses."""
