"""Conditions on pictures as SQL over ``members``, ``assets`` and ``counts``."""
# ruff: noqa: S608 (SQL is put together from constants and numbers; values are parameters)

from collections.abc import Mapping
from dataclasses import dataclass, field

from lodeworks_controller.domain.expression import (
    All,
    Annotated,
    AnyOf,
    Compare,
    Condition,
    HasClass,
    HasTag,
    Not,
)

_MEASURES = {
    "width": "a.width",
    "height": "a.height",
    "size_bytes": "a.size_bytes",
    "megapixels": "(a.width::DOUBLE * a.height / 1e6)",
    "aspect": "(a.width::DOUBLE / a.height)",
}


@dataclass(slots=True)
class Clause:
    """A WHERE clause on ``members AS m``, and the joins that it needs. Values are parameters, never text."""

    where: str = ""
    parameters: list[object] = field(default_factory=list)
    needs_assets: bool = False
    count_columns: list[tuple[int, ...]] = field(default_factory=list)

    def query(self, columns: str) -> str:
        """Returns the SELECT over the members that fulfil the condition, by aid."""
        joins = ""
        if self.needs_assets:
            joins += " JOIN assets AS a ON a.aid = m.aid"
        if self.count_columns:
            sums = ", ".join(
                f"sum(n) FILTER (WHERE rid IN ({_numbers(rids)})) AS c{index}"
                for index, rids in enumerate(self.count_columns)
            )
            every = sorted({rid for rids in self.count_columns for rid in rids} or {-1})
            joins += (
                f" LEFT JOIN (SELECT rec, {sums} FROM counts WHERE rid IN ({_numbers(tuple(every))}) GROUP BY rec)"
                " AS c ON c.rec = m.rec"
            )
        return f"SELECT {columns} FROM members AS m{joins} WHERE {self.where} ORDER BY m.aid"


def compile_condition(condition: Condition, *, rids: Mapping[str, tuple[int, ...]]) -> Clause:
    """Returns the clause of a condition.

    Args:
        condition: What must hold.
        rids: Class name as the condition spells it → raw classes that mean it; "" → all classes of the project.
    """
    clause = Clause()
    clause.where = _sql(condition, clause, rids)
    return clause


def _sql(condition: Condition, clause: Clause, rids: Mapping[str, tuple[int, ...]]) -> str:  # noqa: PLR0911 (one per shape)
    match condition:
        case HasClass(name=name):
            listed = _numbers(rids[name])
            # NULL IN (…) is NULL: a picture without record would slip through both a condition and its contrary.
            return f"(m.rec IS NOT NULL AND m.rec IN (SELECT rec FROM counts WHERE rid IN ({listed})))"
        case HasTag(tag=tag):
            clause.parameters.append(tag)
            return "list_contains(m.tags, ?)"
        case Annotated():
            return "(m.rec IS NOT NULL)"
        case Compare():
            return _compare(condition, clause, rids)
        case Not(part=part):
            return f"(NOT {_sql(part, clause, rids)})"
        case All(parts=parts):
            return "(" + " AND ".join(_sql(part, clause, rids) for part in parts) + ")" if parts else "TRUE"
        case AnyOf(parts=parts):
            return "(" + " OR ".join(_sql(part, clause, rids) for part in parts) + ")" if parts else "FALSE"


def _compare(condition: Compare, clause: Clause, rids: Mapping[str, tuple[int, ...]]) -> str:
    if condition.measure == "boxes":
        clause.count_columns.append(rids[condition.class_name or ""])
        measure = f"coalesce(c.c{len(clause.count_columns) - 1}, 0)"
    else:
        clause.needs_assets = True
        measure = _MEASURES[condition.measure]
    clause.parameters.append(condition.number)
    return f"({measure} {condition.operator} ?)"


def _numbers(rids: tuple[int, ...]) -> str:
    return ", ".join(str(int(rid)) for rid in rids) or "NULL"
