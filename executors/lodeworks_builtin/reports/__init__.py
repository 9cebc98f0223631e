"""Reports as single HTML files: pictures, charts and style inside, nothing loaded from anywhere."""
