"""Staging: turns a grant and its fetched inputs into the /in that an executor expects."""
