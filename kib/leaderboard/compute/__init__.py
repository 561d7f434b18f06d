"""From results to the rows of a table. Nothing here prints."""
