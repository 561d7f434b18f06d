"""Papers' numbers: tables as data."""
