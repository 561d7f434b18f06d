"""Statistics of scores, and measures of rankings."""
