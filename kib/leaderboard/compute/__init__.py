"""Computes table rows from results folders. Nothing in this package prints."""
