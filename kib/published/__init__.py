"""Published numbers: a paper's table as a file, as a results folder and as leaderboard rows."""
