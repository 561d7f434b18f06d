"""From results folders to table rows. Nothing in this package prints."""
