"""Statements compiled once: their text, what goes where in it, and how values are converted.

What SQLAlchemy does for each execution of a statement costs several times what the database does. A statement that is
built once and run for every task says so by `prepared`, and its text then goes straight to the driver.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import Delete, Dialect, Executable, Float, Insert, RowMapping, Select, Update
from sqlalchemy.sql.compiler import ExpandedState, SQLCompiler
from sqlalchemy.types import TypeEngine

from lodeworks_controller.storage.database.connection import Rows, Values

S = TypeVar("S", bound=Executable)

_OPTION: Final = "lodeworks_prepared"
_Convert = Callable[[Any], Any] | None


def prepared(statement: S) -> S:
    """Marks a statement that is built once, for a module's life, and run often.

    Lists among its parameters (``IN``) it cannot have; literal ones it can.
    """
    return statement.execution_options(**{_OPTION: True})


def is_prepared(statement: Executable) -> bool:
    """Says whether the statement was marked."""
    return _OPTION in statement.get_execution_options()


class PreparedRows(Rows):
    """The answer of a prepared statement: tuples, and the names of their columns."""

    def __init__(self, items: Sequence[Any], *, keys: Sequence[str], rowcount: int) -> None:
        super().__init__(items, rowcount=rowcount)
        self._keys = keys

    def mappings(self) -> Values[RowMapping]:
        """Returns each row by column name; dictionaries, which read as SQLAlchemy's mappings do."""
        keys = self._keys
        return Values([dict(zip(keys, row, strict=True)) for row in self._items])  # type: ignore[misc]


class Compiled:
    """One statement as a database's driver gets it.

    Args:
        statement: The statement.
        parameters: Those of its first execution; the later ones have the same names.
        dialect: The database's, with parameters by position.
    """

    def __init__(self, statement: Executable, parameters: Mapping[str, Any], *, dialect: Dialect) -> None:
        columns = list(statement.selected_columns) if isinstance(statement, Select) else []
        assert isinstance(statement, Select | Insert | Update | Delete), "nothing else can be prepared"
        keys = list(parameters) if isinstance(statement, Insert) else None
        compiled = statement.compile(dialect=dialect, column_keys=keys)
        assert isinstance(compiled, SQLCompiler)
        state = compiled.construct_expanded_state(dict(parameters))
        self.text = state.statement
        self._keys = tuple(str(column.key) for column in columns)
        binds = {name: _converter(bind.type, dialect) for name, bind in compiled.binds.items()}
        self._places = [_place(state, name, parameters, binds) for name in state.positiontup or ()]
        converts: list[_Convert] = [_reader(column.type, dialect) for column in columns]
        self._converts = [(place, convert) for place, convert in enumerate(converts) if convert is not None]

    @property
    def returns_rows(self) -> bool:
        """Whether it answers rows."""
        return bool(self._keys)

    def values(self, parameters: Mapping[str, Any]) -> list[Any]:
        """Returns what goes into its places, in their order."""
        return [
            fixed if name is None else parameters[name] if convert is None else convert(parameters[name])
            for name, convert, fixed in self._places
        ]

    def answer(self, rows: Sequence[Any]) -> Rows:
        """Returns the rows that the driver answered as the repositories read them."""
        if self._converts:
            rows = [self._converted(row) for row in rows]
        return PreparedRows(rows, keys=self._keys, rowcount=len(rows))

    def _converted(self, row: Sequence[Any]) -> tuple[Any, ...]:
        values = list(row)
        for place, convert in self._converts:
            values[place] = convert(values[place])
        return tuple(values)


def _converter(kind: TypeEngine[Any], dialect: Dialect) -> _Convert:
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _reader(kind: TypeEngine[Any], dialect: Dialect) -> _Convert:
    if isinstance(kind, Float):
        return None  # drivers answer floats; SQLAlchemy would first ask which of the server's types it was
    return kind.dialect_impl(dialect).result_processor(dialect, None)


def _place(
    state: ExpandedState, name: str, parameters: Mapping[str, Any], binds: Mapping[str, _Convert]
) -> tuple[str | None, _Convert, Any]:
    """Returns whose value goes there and how it is converted, or the value where it is always the same."""
    convert: _Convert = state.processors.get(name) or binds.get(name)
    if name in parameters:
        return name, convert, None
    value = state.parameters[name]
    return None, None, value if convert is None else convert(value)
