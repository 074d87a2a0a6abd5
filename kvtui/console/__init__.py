"""Serial consoles and screens: logs with lasting offsets, protocols as state machines, thin sockets around them."""
