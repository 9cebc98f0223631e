"""The built-in executors: ingest, export, mine, infer, evaluate, convert, generate."""
