"""Built-in admission: what Kubernetes itself changes or refuses, one module per rule."""
