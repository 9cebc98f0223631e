"""What the repositories execute on: statements go to a thread that owns the connection, rows come back whole."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import CursorResult, Executable, Row, RowMapping
from sqlalchemy.exc import MultipleResultsFound, NoResultFound

T = TypeVar("T")
Item = TypeVar("Item")
Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]


class Values(Generic[Item]):
    """A list of rows seen one way: as scalars or as mappings."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def all(self) -> Sequence[Item]:
        """Returns all of them."""
        return self._items

    def first(self) -> Item | None:
        """Returns the first, or None."""
        return self._items[0] if self._items else None

    def one_or_none(self) -> Item | None:
        """Returns the only one, or None; raises MultipleResultsFound for more."""
        if len(self._items) > 1:
            raise MultipleResultsFound("more than one row")
        return self.first()

    def one(self) -> Item:
        """Returns the only one; raises NoResultFound or MultipleResultsFound."""
        item = self.one_or_none()
        if item is None:
            raise NoResultFound("no row")
        return item


class Rows(Values[Row[Any]]):
    """The buffered answer of one statement; reads like SQLAlchemy's Result."""

    def __init__(self, items: Sequence[Row[Any]], *, rowcount: int) -> None:
        super().__init__(items)
        self.rowcount = rowcount

    @classmethod
    def of(cls, result: CursorResult[Any]) -> "Rows":
        """Returns all that the cursor has; called in the thread that owns it."""
        if result.returns_rows:
            items = result.all()
            return cls(items, rowcount=len(items))
        return cls((), rowcount=result.rowcount)

    def scalars(self) -> Values[Any]:
        """Returns the first column of each row."""
        return Values([row[0] for row in self._items])

    def mappings(self) -> Values[RowMapping]:
        """Returns each row by column name."""
        return Values([row._mapping for row in self._items])  # noqa: SLF001 (SQLAlchemy's public name)

    def scalar(self) -> Any:
        """Returns the first column of the first row, or None."""
        return self._items[0][0] if self._items else None

    def scalar_one(self) -> Any:
        """Returns the first column of the only row."""
        return self.one()[0]

    def scalar_one_or_none(self) -> Any:
        """Returns the first column of the only row, or None."""
        row = self.one_or_none()
        return None if row is None else row[0]


class Connection(Protocol):
    """One unit of work's way to the database."""

    async def run(self, work: Callable[[SqlConnection], T]) -> T:
        """Runs several statements in one trip to the connection's thread."""
        ...

    async def execute(self, statement: Executable, parameters: Parameters | None = None) -> Rows:
        """Executes one statement and returns all its rows."""
        ...

    def on_commit(self, action: Callable[[], None]) -> None:
        """Runs the action once the unit of work is durable."""
        ...

    def on_kept(self, action: Callable[[], None]) -> None:
        """Runs the action once the unit of work is done: before its commit where who wakes by it can share that."""
        ...


class Database(Protocol):
    """What a store stands on."""

    def measure_commits(self, notice: Callable[[float, int], None]) -> None:
        """Tells of each commit from now on: its seconds, and how many units of work shared it."""
        ...

    def write(self, *, brief: bool = False, heartbeat: bool = False) -> AbstractAsyncContextManager[Connection]:
        """Opens a unit of work that may write; returns once it is durable. See `Store.transaction`."""
        ...

    def read(self, *, brief: bool = False) -> AbstractAsyncContextManager[Connection]:
        """Opens a unit of work that reads one moment's state. See `Store.snapshot`."""
        ...

    async def create_schema(self) -> None:
        """Creates every table that is missing."""
        ...

    async def close(self) -> None:
        """Ends its connections."""
        ...
