"""``python -m lodeworks_controller.storage.database.draft MESSAGE``: drafts the next migration, for developers.

Compares the tables with what the migrations so far make; a person reads the draft before it lands.
"""

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config

from lodeworks_controller.storage.database.migration import FOLDER, migrate, newest_revision
from lodeworks_controller.storage.database.sqlite_session import sqlite_engine


def draft(message: str) -> None:
    """Writes the next migration below ``migrations/versions``."""
    newest = newest_revision()
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lode.db"
        if newest:
            migrate(path)
        engine = sqlite_engine(path)
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            revision = f"{int(newest or 0) + 1:04}"
            command.revision(config, message=message, autogenerate=True, rev_id=revision)


if __name__ == "__main__":
    draft(" ".join(sys.argv[1:]) or "change")
