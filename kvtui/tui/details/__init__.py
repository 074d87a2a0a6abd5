"""Objects as lines of text for the detail pane; pure."""
