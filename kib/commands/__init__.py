"""The implementation of the `kib` commands, one file or folder per command."""
