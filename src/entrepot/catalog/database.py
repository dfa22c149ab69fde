"""How the catalog is reached: statements built by SQLAlchemy Core, compiled once, run on the driver's own connection.

Core's own execution costs 50 to 150 µs a statement; the drivers' 5 to 20. So Core writes the SQL, for both databases
from one expression, and a `Transaction` hands the text to sqlite3 or psycopg. Rows are tuples.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol, TypeVar

import msgspec
from sqlalchemy import Text
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.sql.functions import FunctionElement

T = TypeVar("T")
Row = tuple[Any, ...]
Job = Callable[["Transaction"], T]


class joined(FunctionElement[str]):  # noqa: N801 an SQL function
    """All texts of a group in one, with commas between: `group_concat` or `string_agg`."""

    inherit_cache = True
    type = Text()


@compiles(joined, "sqlite")
def _joined_sqlite(element: joined, compiler: SQLCompiler, **options: Any) -> str:
    return f"group_concat({compiler.process(element.clauses, **options)}, ',')"


@compiles(joined, "postgresql")
def _joined_postgres(element: joined, compiler: SQLCompiler, **options: Any) -> str:
    return f"string_agg({compiler.process(element.clauses, **options)}, ',')"


def value_of(text: str) -> Any:
    """What was kept as `text_of` it."""
    return msgspec.json.decode(text)


def text_of(value: Mapping[str, Any]) -> str:
    """JSON of what no query looks into."""
    return msgspec.json.encode(value).decode()


class LostRace(Exception):
    """A job met a row that another transaction is just taking away; it is run again."""


class Query:
    """One statement, compiled at its first use on each dialect: one expression for all, or one by dialect name."""

    __slots__ = ("_compiled", "forms")

    def __init__(self, form: ClauseElement | None = None, **forms: ClauseElement) -> None:
        self.forms = forms if form is None else {"sqlite": form, "postgresql": form}
        self._compiled: dict[str, tuple[str, dict[str, Any]]] = {}

    def compiled(self, dialect: Dialect) -> tuple[str, dict[str, Any]]:
        """SQL text in the driver's own style, and the values that are part of the statement."""
        found = self._compiled.get(dialect.name)
        if found is None:
            done = self.forms[dialect.name].compile(dialect=dialect)
            binds: dict[str, Any] = done.binds  # type: ignore[attr-defined]
            found = str(done), {name: bind.value for name, bind in binds.items() if not bind.required}
            self._compiled[dialect.name] = found
        return found


class Transaction:
    """A running transaction, or on a reading connection a plain connection. Jobs use nothing else."""

    __slots__ = ("_connection", "dialect")

    def __init__(self, connection: Any, dialect: Dialect) -> None:
        self._connection = connection
        self.dialect = dialect

    def _execute(self, query: Query, values: dict[str, Any]) -> Any:
        text, fixed = query.compiled(self.dialect)
        return self._connection.execute(text, {**fixed, **values} if fixed else values)

    def rows(self, query: Query, **values: Any) -> list[Row]:
        """All rows of `query`."""
        rows: list[Row] = self._execute(query, values).fetchall()
        return rows

    def row(self, query: Query, **values: Any) -> Row | None:
        """The first row, or None."""
        row: Row | None = self._execute(query, values).fetchone()
        return row

    def run(self, query: Query, **values: Any) -> int:
        """Rows it changed."""
        count: int = self._execute(query, values).rowcount
        return count


class Catalog(Protocol):
    """The two ways in. A write job may run more than once, and never waits for anything but the database."""

    async def write(self, job: Job[T], *, slow: bool = False) -> T:
        """What `job` gives, once its transaction is safe on disk; `slow`: it may take milliseconds.

        Raises: what `job` raises, and then nothing of it is kept; DiskFull; Busy after five lost races.
        """

    async def read(self, job: Job[T]) -> T:
        """What `job` gives; it runs in a thread. For pages and anything that may take milliseconds."""

    async def probe(self, job: Job[T], *, key: Hashable = None) -> T:
        """What `job` gives; one or two index probes, run where that is fastest.

        Jobs of equal `key` look for the same, whatever the time is; then what one found may serve until the next write.
        """

    async def close(self) -> None:
        """Finish what was handed in, then let go of the database."""
