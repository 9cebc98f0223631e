"""The worker agent: takes tasks, runs executors, reports."""

__version__ = "0.1.0"
