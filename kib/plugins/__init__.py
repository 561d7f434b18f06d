"""Plugins: finding them, building them with their options, and the plugins that ship with kib."""
