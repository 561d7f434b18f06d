"""What authors of plugins may use: the hub, retries, BibTeX, citations, and peak memory."""
