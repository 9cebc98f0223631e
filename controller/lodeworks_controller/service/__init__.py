"""What the controller does, in units of work."""
