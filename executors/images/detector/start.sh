#!/usr/bin/env bash
# exec: SIGTERM must reach the program, which keeps its stages and ends.
exec python -m lodeworks_detector
