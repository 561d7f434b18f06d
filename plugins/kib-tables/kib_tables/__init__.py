"""Documents from tables: JSON lines, CSV and Parquet, with one way of saying what a table calls things."""
