"""VirtualMachines: run strategies, restarts, live updates and what the screen calls their status."""
