"""Datasets as Parquet segments: written by pyarrow, read by DuckDB in memory, in processes of their own."""
