"""A plugin that ends the process that imports it."""

raise SystemExit("goodbye")
