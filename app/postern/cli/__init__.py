"""The `postern` command: one module for each of its commands."""
