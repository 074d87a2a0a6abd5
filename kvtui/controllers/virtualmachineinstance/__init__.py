"""The control plane's half of a VMI: its launcher, its phases until the agent takes over, its end."""
