"""Metrics that compare a generated answer with the accepted answers of a question."""
