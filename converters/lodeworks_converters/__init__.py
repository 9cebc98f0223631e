"""Converts a model stage for the targets it shall run on."""
