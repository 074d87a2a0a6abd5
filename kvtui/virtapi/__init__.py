"""The virt-api role: admission rules and subresources, mounted in the embedded server or behind an APIService."""
