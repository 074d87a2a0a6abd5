"""One module per command; the only place where parts are wired together."""
