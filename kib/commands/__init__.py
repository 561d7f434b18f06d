"""What the commands of `kib` do, one file or folder per command."""
