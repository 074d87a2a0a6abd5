"""The screen: everything Textual. Models below `model` know only the client; widgets know only models."""
