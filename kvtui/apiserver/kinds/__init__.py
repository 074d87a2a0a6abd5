"""What is special about single built-in kinds, one module per family."""
