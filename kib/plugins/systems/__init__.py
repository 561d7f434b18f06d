"""The system plugins that ship with kib."""
