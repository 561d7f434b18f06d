"""From the rows of a table to text, files and figures. Nothing here computes a statistic."""
