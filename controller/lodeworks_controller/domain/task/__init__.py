"""A task: its states, its lease, its budgets of retries, its place."""
