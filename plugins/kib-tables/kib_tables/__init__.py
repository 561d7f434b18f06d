"""The corpora `jsonl`, `csv` and `parquet`: one document per row of a table file."""
