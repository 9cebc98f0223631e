"""Images of executors: fetched, read without being run, and proved against the executor protocol."""
