"""VirtualMachinePools: N like VMs with names of their own, updated and healed."""
