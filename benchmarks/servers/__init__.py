"""The servers that are measured, with one module per family."""
