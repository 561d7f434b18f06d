"""The core's own plugins, a file each; they come through the same entry points as a stranger's."""
