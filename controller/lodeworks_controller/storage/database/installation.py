"""Facts about the installation as a whole, in SQL."""

from sqlalchemy import Column, String, Table, Text, select

from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.schema import metadata
from lodeworks_controller.storage.database.upsert import insert_new

installation = Table(
    "installation",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)


class SqlInstallationRows:
    """The facts on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def settle(self, name: str, value: str) -> str:
        """Notes a fact that is not known yet; returns the one that holds."""
        await self._connection.execute(insert_new(installation), {"name": name, "value": value})
        query = select(installation.c.value).where(installation.c.name == name)
        found: str = (await self._connection.execute(query)).scalar_one()
        return found
