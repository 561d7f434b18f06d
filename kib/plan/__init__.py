"""The plan: every step and cell of a benchmark, with its identity."""
