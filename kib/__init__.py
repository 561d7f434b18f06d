"""kib, the knowledge injection benchmark: fine-tuning or retrieval, measured on your own documents and model."""

from kib import moved_modules

__version__ = "0.1.0"

moved_modules.install()
