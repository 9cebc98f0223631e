"""The device agent: pulls, proves, runs and rolls back algorithms."""
