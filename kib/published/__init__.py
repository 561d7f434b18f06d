"""Published numbers: reads the table of a paper from a file, and presents the table like a results folder."""
