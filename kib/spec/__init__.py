"""A benchmark file becomes a checked `Spec`: tables, references between them, options, line numbers and messages."""
