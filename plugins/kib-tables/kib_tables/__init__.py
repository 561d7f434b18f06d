"""The corpora `jsonl`, `csv` and `parquet`, which read one document per row from a table file."""
