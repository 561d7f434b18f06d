"""Everything kib keeps on disk: results, the work folder, model answers and paid answers."""

from kib.store.folders import write_text

__all__ = ["write_text"]
