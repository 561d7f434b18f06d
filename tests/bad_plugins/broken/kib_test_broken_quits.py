"""A plugin module that terminates the importing process."""

raise SystemExit("goodbye")
