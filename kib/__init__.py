"""kib, the knowledge injection benchmark, compares fine-tuning with retrieval on your own documents and model."""

from kib import moved_modules

__version__ = "0.1.0"

moved_modules.install()
