"""Launcher Pods: VMI -> Pod, pure.

What a scheduler, a quota and a user see of a running VM: labels, node selectors, affinity, resources with the memory
overhead. The node agent realises it; no kubelet ever runs its containers.
"""
