"""`lode-controller` with a mistake of `mutants` in it: the first argument names it, the rest are the program's own."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    import pytest
    from lodeworks_controller.main import run
    from mutants import MUTANTS

    MUTANTS[sys.argv.pop(1)](pytest.MonkeyPatch())
    sys.argv[0] = "lode-controller"
    run()
