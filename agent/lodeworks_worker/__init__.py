"""The worker agent: takes tasks, runs executors, reports."""
