"""The `lode` command: one file per noun, through the public client alone."""
