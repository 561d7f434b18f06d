"""kib, the knowledge injection benchmark: fine-tuning or retrieval, measured on your own documents and model."""

__version__ = "0.1.0"
