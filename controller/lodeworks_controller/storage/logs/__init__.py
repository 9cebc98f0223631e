"""Logs and metric series, append only."""
