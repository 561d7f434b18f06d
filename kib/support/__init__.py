"""Helper modules for plugin authors: the hub, retries, BibTeX, citations, and peak memory."""
