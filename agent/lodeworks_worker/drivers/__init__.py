"""Drivers: how a worker runs executors."""
