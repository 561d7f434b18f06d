"""A plugin module that exits the importing process."""

raise SystemExit("goodbye")
