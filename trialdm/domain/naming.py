"""Names of exported columns, safe in SPSS, Stata, SAS and R at once.

A definition is refused when any name that it generates passes 32 characters, collides with another regardless of case,
or is a reserved word of one of the four; and when a number or code could be one of those that stand for a missing reason in
the same column. Rules: `item` itself, `item___code` for each choice of a multiple choice (as
REDCap writes it), `item_mr` for the missing reason of a text, date or multiple choice, `item_date` and `item_prec` for a
partial date, `item_utc` for the offset of a date-time; in the wide layout `v07_item`, and `item_r02` for rows.
"""

from collections.abc import Collection, Iterable, Iterator
from itertools import chain

from trialdm.domain.crf import Form, Item

LONGEST = 32

#: Numbers that SPSS reads as a missing reason.
MISSING_CODES = range(-95, -90)

#: Key columns that stand first in every table, and the columns about the row that stand last.
KEYS = ("participant", "site", "visit", "visit_no", "row")
ROW_COLUMNS = ("form_status", "form_version", "saved_at")

#: Tables of a package that are no form: no form takes one of their names.
TABLES = frozenset({"participants", "visits", "derived", "derived_visits"})

_SPSS = "all and by eq ge gt le lt ne not or to with"
_STATA = "_all _b _cons _n _pi _skip aggregate array boolean break byte case catch class colvector complex const continue default \
delegate delete do double else eltypedef end enum explicit export external float for friend function global goto if in int \
local long mata matrix namespace new null numeric orgtypedef pointer polymorphic pragma private protected public quad real \
return rowvector scalar short signed static str str1 str2 strl string struct super switch template this throw transmorphic \
try typedef typename union unsigned using vector version virtual void volatile while with"
_SAS = "_all_ _character_ _numeric_ _null_ _infile_ _iorc_ _msg_ _cmd_ _last_ _data_"
_R = "break else false for function if in inf na nan next null repeat true while"

RESERVED = frozenset(f"{_SPSS} {_STATA} {_SAS} {_R}".split())


def choice_column(item: str, code: int) -> str:
    """The 0/1 column of one choice; a negative code is written `m1`."""
    return f"{item}___{f'm{-code}' if code < 0 else code}"


def columns_of(item: Item) -> list[str]:
    """Names of the columns that one item makes in the long layout, in order."""
    match item.holds:
        case "multi":
            codes = item.codelist.labels if item.codelist else {}
            return [*(choice_column(item.name, code) for code in codes), f"{item.name}_mr"]
        case "pdate":
            return [item.name, f"{item.name}_date", f"{item.name}_prec", f"{item.name}_mr"]
        case "dtm":
            return [item.name, f"{item.name}_utc", f"{item.name}_mr"]
        case "text" | "date" | "time":
            return [item.name, f"{item.name}_mr"]
    return [item.name]


def wide_column(visit_number: int, column: str, row: int | None = None) -> str:
    """The name in the wide layout: `v07_rlp_worst`, and `v02_nv_tech_r03` for the third row."""
    name = f"v{visit_number:02d}_{column}"
    return name if row is None else f"{name}_r{row:02d}"


def problems(forms: Iterable[Form], with_rows: Collection[str] = ()) -> Iterator[tuple[str, str, str]]:
    """(form, item, what is wrong) for everything that some statistics package cannot take.

    `with_rows` are the visits at which every form has rows, so that its wide names carry a number.
    """
    for form in forms:
        seen: dict[str, str] = dict.fromkeys((*KEYS, *ROW_COLUMNS), "a key column")
        row = 1 if form.repeating or any(visit in with_rows for visit in form.visits) else None
        for item in (*form.items, *form.summary):
            for wrong in chain(_names_wrong(item, row, seen), _numbers_wrong(item)):
                yield form.code, item.name, wrong


def _names_wrong(item: Item, row: int | None, seen: dict[str, str]) -> Iterator[str]:
    for column in columns_of(item):
        longest = wide_column(0, column, row)
        if len(longest) > LONGEST:
            yield f"its export name '{longest}' is longer than {LONGEST} characters"
        if column.lower() in RESERVED:
            yield f"'{column}' is a reserved word of SPSS, Stata, SAS or R"
        if column.lower() in seen:
            yield f"its export name '{column}' is also that of {seen[column.lower()]}"
        seen[column.lower()] = f"item '{item.name}'"


def _numbers_wrong(item: Item) -> Iterator[str]:
    """Numbers that would read as a missing reason. Without a smallest value nobody has said that they can occur."""
    codes = item.codelist.labels if item.codelist and item.holds == "code" else {}
    for code in codes:
        if code in MISSING_CODES:
            yield f"the code {code} stands for a missing reason in exports"
    lowest, highest = item.minimum, item.maximum
    if lowest is not None and lowest <= MISSING_CODES[-1] and (highest is None or highest >= MISSING_CODES[0]):
        yield f"its limits admit numbers from {MISSING_CODES[0]} to {MISSING_CODES[-1]}, which stand for missing reasons in exports"
