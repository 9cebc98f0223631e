#!/usr/bin/env bash
# exec: SIGTERM must reach the program.
exec python3 /app/executor.py
