"""How a view becomes a zip in the formats of others."""
