"""kib's core plugins, one file each, which are declared as entry points like third-party plugins."""
