"""Every file that crosses between programs, read and written in one place."""
