"""`python -m lodeworks_detector`: runs what LODE_ENV_FILE (or /in/env.yaml) asks for."""

from __future__ import annotations

import os
import sys

# Threads that wait must sleep: spinning ones starve each other on shared cores. Before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from lodeworks_executor import run_program

from lodeworks_detector.executor import execute

if __name__ == "__main__":
    sys.exit(run_program(execute))
