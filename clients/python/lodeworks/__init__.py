"""The Lodeworks client library and command line."""
