"""Readers of files with questions: JSON Lines, CSV and spreadsheets, with the user's own column names if necessary."""
