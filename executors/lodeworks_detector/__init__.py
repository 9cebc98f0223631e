"""The default executor: a small detector that trains from scratch."""
