"""Helper modules for plugin authors: the Hugging Face Hub, allowed servers, retries, BibTeX and peak memory."""
