"""Published numbers: the table of a paper as a file, in the form of a results folder, and as leaderboard rows."""
