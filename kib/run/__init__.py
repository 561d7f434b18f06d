"""Executes a plan: the run loop, the prompts, and one file per step."""
