"""What the controller knows: states, transitions and rules, without I/O."""
