"""The core's own plugins, one file each; they use the same entry points as third-party plugins."""
