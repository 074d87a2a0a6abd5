"""Resource models, conditions, quantities, selectors: pure data that crosses the wire."""
