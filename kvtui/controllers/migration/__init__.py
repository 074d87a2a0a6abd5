"""Live migrations: who may migrate when, the hand-off to the node agents, and who asks for migrations."""
