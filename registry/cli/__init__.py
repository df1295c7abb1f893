"""The `stowage` command: one module a command."""
