"""Finds and creates plugins; this package also contains the plugins that ship with kib."""
