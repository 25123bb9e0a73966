"""Rows of the tables of record as seals see them: which tables these are, their keys and columns, and what a row holds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import inspect

from trialdm.domain import row_seals
from trialdm.domain.row_seals import Seal
from trialdm.store.tables import Table


@dataclass(frozen=True)
class Shape:
    """A table of record: its primary key, and each column with the attribute that holds it."""

    table: str
    key: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column for column, _ in self.columns)


@cache
def shape(kind: type[Table]) -> Shape:
    mapper: Any = inspect(kind)
    table = mapper.local_table
    columns = tuple((column.name, mapper.get_property_by_column(column).key) for column in table.columns)
    return Shape(table.name, tuple(column.name for column in table.primary_key), columns)


@cache
def of_record() -> Mapping[str, type[Table]]:
    """Every table whose rows need an entry in the trail."""
    kinds = (mapper.class_ for mapper in Table.registry.mappers)
    return {kind.__tablename__: kind for kind in sorted(kinds, key=lambda kind: kind.__tablename__) if kind.audited}


def keys_of(table: str) -> tuple[str, ...]:
    """The primary key of a table of record."""
    return shape(of_record()[table]).key


def seal(key: bytes, row: Table, *, removed: bool = False) -> Seal:
    """What a row holds now. The caller has flushed it."""
    form = shape(type(row))
    values = {column: getattr(row, attribute) for column, attribute in form.columns}
    primary = tuple(values[column] for column in form.key)
    return Seal(form.table, primary, b"" if removed else row_seals.digests(key, form.table, primary, values))


def later_defaults(table: str, columns: int) -> Iterator[tuple[str, Any]]:
    """Columns that a table got after this many, with what every row held when it got them."""
    for column in list(of_record()[table].__table__.columns)[columns:]:
        default = column.server_default
        yield column.name, None if default is None else default.arg  # type: ignore[union-attr]
