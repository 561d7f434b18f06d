"""Helper modules for plugin authors: the hub, allowed servers, retries, BibTeX, citations, and peak memory."""
