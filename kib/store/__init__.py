"""Everything that kib stores on disk: results, the work folder, model answers and paid answers."""

from kib.store.files import write_text

__all__ = ["write_text"]
