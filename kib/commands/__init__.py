"""The implementations of the `kib` commands, with one file or folder per command."""
