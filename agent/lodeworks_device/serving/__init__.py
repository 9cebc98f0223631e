"""What answers on a device: the HTTP front, and one process per algorithm version. Both outlive the agent."""
