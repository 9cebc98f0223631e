"""Taking in networks that were trained elsewhere."""
