"""Which numbers a diagnosis shows and how each is computed."""
