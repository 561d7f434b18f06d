"""Renders the rows of a table as text, files and figures. Nothing in this package computes a statistic."""
