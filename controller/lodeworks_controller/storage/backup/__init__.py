"""Backups: the whole installation in one folder, taken while it runs."""
