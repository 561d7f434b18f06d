"""Prompts that share prefixes, read as trees."""
