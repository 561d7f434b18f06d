"""Scoring and text generation for prompts with common prefixes; each distinct prefix is computed only once."""
