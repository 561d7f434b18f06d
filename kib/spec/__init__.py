"""Turns a benchmark file into a validated `Spec`: tables, references, options, line numbers and messages."""
