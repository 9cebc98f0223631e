"""Rows in SQL."""
