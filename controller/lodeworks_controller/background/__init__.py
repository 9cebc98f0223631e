"""Roles that run beside the rpcs."""
