"""Content by sha256."""
