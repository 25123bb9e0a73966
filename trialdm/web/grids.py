"""The casebook of a participant as a grid: forms down, visits across, and what each cell says. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trialdm.domain.crf import Form
from trialdm.domain.protocol import UNSCHEDULED, Protocol, Visit
from trialdm.domain.schedule import Window

#: kind of cell -> (symbol, words)
SAID = {
    "signed": ("✍", "Signed"),
    "verified": ("✔", "Verified"),
    "complete": ("✓", "Complete"),
    "draft": ("✎", "Draft"),
    "overdue": ("!", "Overdue"),
    "due": ("●", "Due now"),
    "blank": ("○", "Not started"),
    "optional": ("+", "Optional"),
    "later": ("·", "Later"),
    "missed": ("–", "Visit missed"),
    "ended": ("–", "Not expected"),
    "event": ("+", "Add"),
}


#: Kinds of cells with something saved in them, the one least far first: it is what a cell with many rows says.
_SAVED = ("draft", "complete", "verified", "signed")


@dataclass(frozen=True)
class Cell:
    """One form at one visit. `kind` is a key of SAID; `leads` says whether there is something to open for the reader."""

    form: Form
    visit: str
    kind: str
    rows: int = 0
    leads: bool = True

    @property
    def symbol(self) -> str:
        return SAID[self.kind][0]

    @property
    def words(self) -> str:
        said = SAID[self.kind][1]
        return f"{said}, {self.rows} row{'' if self.rows == 1 else 's'}" if self.rows else said


@dataclass(frozen=True)
class Column:
    """One visit (or one occasion of the unscheduled visit) of the grid, and whether anything is saved of it for the reader."""

    visit: Visit
    code: str
    window: Window | None
    standing: str
    saved: bool = False


@dataclass
class Grid:
    """Columns, rows of cells (None where a form does not belong to a visit), events, and the forms of a new occasion."""

    columns: list[Column] = field(default_factory=list)
    rows: list[tuple[Form, list[Cell | None]]] = field(default_factory=list)
    events: list[Cell] = field(default_factory=list)
    occasion: str = ""
    offered: list[Form] = field(default_factory=list)


def casebook_grid(found: Sequence[Mapping[str, Any]], protocol: Protocol, enters: Callable[[str], bool]) -> Grid:
    """The grid from what `overview.grid` gives. `enters` says whether the reader may enter a kind of form."""
    grid = Grid()
    cells: dict[tuple[str, str], Cell] = {}
    for row in found:
        visit, code = row["visit"], row["code"]
        if row["new"]:
            grid.occasion = _next_occasion(other["code"] for other in found if other["visit"] is visit)
            grid.offered = [cell["form"] for cell in row["cells"] if enters(cell["form"].kind)]
            continue
        made = [_cell(row, cell, enters) for cell in row["cells"]]
        if visit.kind == "repeating" and visit.code != UNSCHEDULED:
            grid.events += [cell for cell in made if cell.leads]
            continue
        if visit.code == UNSCHEDULED:
            made = [cell for cell in made if cell.kind in _SAVED]
        saved = any(cell["saved"] for cell in row["cells"])
        grid.columns.append(Column(visit, code, row["window"], row["standing"], saved))
        cells |= {(cell.form.code, code): cell for cell in made}
    columns = [column.code for column in grid.columns]
    lines = [(form, [cells.get((form.code, code)) for code in columns]) for form in protocol.forms]
    grid.rows = sorted(((form, line) for form, line in lines if any(line)), key=lambda row: _first(row[1]))
    return grid


def _next_occasion(codes: Iterable[str]) -> str:
    """The code of the next unscheduled visit, such as U03."""
    used = [int(code[1:]) for code in codes if code[1:].isdigit()]
    return f"{UNSCHEDULED}{max(used, default=0) + 1:02d}"


def _first(line: Sequence[Cell | None]) -> int:
    """The first visit at which a form stands: forms follow one another as the participant goes through the trial."""
    return next(i for i, cell in enumerate(line) if cell)


def _cell(row: Mapping[str, Any], cell: Mapping[str, Any], enters: Callable[[str], bool]) -> Cell:
    form, saved = cell["form"], cell["saved"]
    rows = len(saved) if cell["rows"] else 0
    if saved:
        kind = min((stored.status for stored in saved), key=_SAVED.index)
    elif cell["how"] == "event":
        kind = "event"
    elif not cell["expected"]:
        kind = "ended"
    elif row["standing"] == "missed":
        kind = "missed"
    elif row["due"] == "not due":
        kind = "later"
    elif cell["how"] == "optional":
        kind = "optional"
    else:
        kind = {"due": "due", "overdue": "overdue"}.get(row["due"], "blank")
    return Cell(form, row["code"], kind, rows, bool(saved) or enters(form.kind))
