"""How a zip, a tar or a folder becomes an exchange form: source, layout, pictures and labels, report."""
